"""Commands of `python -m mmt_assets`."""

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from mmt_assets.cli import messages
from mmt_assets.cli.interrupts import told_when_stopped
from mmt_assets.cli.terminal import console, fail, read_settings
from mmt_assets.settings import SettingsError
from mmt_assets.warehouse import SourceError, WarehouseError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Forecast concert ticket sales.")
app.add_typer(messages.request, name="request")
app.add_typer(messages.pubsub, name="pubsub")


@app.command()
def demo(
    source: Annotated[str, typer.Option(help="'sample', or a directory of Parquet or CSV files")] = "sample",
    as_of: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day that exists")] = None,
) -> None:
    """Run the whole pipeline for a source's history and print the forecasts."""
    # Dagster takes seconds to import, which `--help` should not pay.
    from mmt_assets.cli.demo import run_demo  # noqa: PLC0415

    with told_when_stopped():
        try:
            run_demo(source, as_of.date() if as_of else None)
        except (SettingsError, SourceError, WarehouseError, FileNotFoundError, RuntimeError) as error:
            fail(str(error))


@app.command()
def prepare() -> None:
    """Settle the first day and initialise Dagster's instance, so that the UI can start."""
    from mmt_assets.cli.demo import prepare as prepare_demo  # noqa: PLC0415

    try:
        settings = prepare_demo()
    except (SettingsError, SourceError, WarehouseError, FileNotFoundError, RuntimeError) as error:
        fail(str(error))
    console.print(f"source {settings.source}, days from {settings.partitions_start()} on")


@app.command()
def forecast(
    concert_id: Annotated[str, typer.Argument(help="Concert, as the source names it")],
    as_of: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="As-of date; default the latest")] = None,
) -> None:
    """Forecast one concert now, as materialising its partition in the UI does."""
    started = time.monotonic()
    settings = read_settings()
    from mmt_assets.cli.forecast import forecast_concert  # noqa: PLC0415

    with told_when_stopped():
        try:
            forecast_concert(settings, concert_id, as_of.date() if as_of else None, started)
        except (WarehouseError, FileNotFoundError, RuntimeError, ValueError) as error:
            fail(str(error))


@app.command()
def scenario(
    concert_id: Annotated[str, typer.Argument(help="Concert, as the source names it")],
    capacity: Annotated[int | None, typer.Option(help="Seats from now on")] = None,
    show_date: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day of the show")] = None,
    on_sale_date: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day of sale, if it is not on sale yet")
    ] = None,
    price: Annotated[float | None, typer.Option(help="Ticket price from now on; needs --price-elasticity")] = None,
    current_price: Annotated[float | None, typer.Option(help="Price to compare with; default the mean so far")] = None,
    price_elasticity: Annotated[
        float | None, typer.Option(help="Assumed percent of demand per percent of price, 0 or below")
    ] = None,
    as_of: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="As-of date; default the latest")] = None,
) -> None:
    """What if a concert had another capacity, date, start of sale or price? Its forecast stays as it is."""
    started = time.monotonic()
    settings = read_settings()
    from mmt_assets.cli.forecast import suppose  # noqa: PLC0415

    dates = {"show_date": show_date, "on_sale_date": on_sale_date, "as_of_date": as_of}
    changes = {name: value.date().isoformat() if value else None for name, value in dates.items()}
    prices = {"price": price, "current_price": current_price, "price_elasticity": price_elasticity}
    try:
        suppose(settings, concert_id, {"capacity": capacity, **changes, **prices}, started)
    except (WarehouseError, FileNotFoundError, RuntimeError, ValueError) as error:
        fail(str(error))


@app.command()
def board(
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Show a past day, as it was forecast then")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="File to write instead of the configured place")] = None,
    browse: Annotated[bool, typer.Option("--open", help="Open it in the browser")] = False,
) -> None:
    """Write the outlook board: one page of all active concerts, to be opened in any browser."""
    settings = read_settings()
    from mmt_assets.board import NoOutlookError  # noqa: PLC0415
    from mmt_assets.cli.board import show_board  # noqa: PLC0415

    try:
        show_board(settings, as_of.date() if as_of else None, output, is_to_be_opened=browse)
    except (NoOutlookError, SettingsError, WarehouseError) as error:
        fail(str(error))


@app.command()
def compare(
    day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="Business day, or as-of date")],
) -> None:
    """Hold a day of the local warehouse against BigQuery, row for row; fails when they differ."""
    settings = read_settings()
    from mmt_assets.cli.compare import compare_engines  # noqa: PLC0415

    try:
        is_equal = compare_engines(settings, day.date())
    except WarehouseError as error:
        fail(str(error))
    if not is_equal:
        fail(f"{day.date()} differs between DuckDB and BigQuery")


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SQL query: DuckDB's dialect, with MMT_ENV=gcp GoogleSQL")],
) -> None:
    """Read the warehouse: opens late, closes at once, so that no run is blocked."""
    settings = read_settings()
    from mmt_assets.cli.query import print_query  # noqa: PLC0415

    try:
        print_query(settings, sql)
    except WarehouseError as error:
        fail(str(error))
