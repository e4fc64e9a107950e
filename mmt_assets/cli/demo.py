"""`make demo`: from an empty folder to forecasts, through the real asset graph."""

import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import pandas as pd
from dotenv import dotenv_values
from rich import box
from rich.markup import escape
from rich.table import Table

from mmt_assets.assets.board import BOARD
from mmt_assets.assets.catalog import asset_key
from mmt_assets.assets.days import last_day_with_history
from mmt_assets.assets.run_once import limit_daily_pool
from mmt_assets.board import board_address
from mmt_assets.cli.instance import open_instance
from mmt_assets.cli.runs import failure_reason, run_job
from mmt_assets.cli.terminal import console
from mmt_assets.contracts import CONCERTS, FEATURE_TABLES
from mmt_assets.daily import FORECASTS, HISTORY
from mmt_assets.job_names import DAILY_JOB
from mmt_assets.sample.writer import default_first_day
from mmt_assets.settings import DEMO_SETTINGS, Settings, dagster_home
from mmt_assets.warehouse import DuckDBWarehouse, Statement

_FEATURES = [asset_key(contract) for contract in FEATURE_TABLES]


def run_demo(source: str, as_of: date | None) -> None:
    """Fill the warehouse with the source's whole history, forecast as of its last day, print the outlook.

    Args:
        source: 'sample' or a directory.
        as_of: Last day that exists; default the last complete day, or a past source's last one.

    Raises:
        RuntimeError: A run failed.
    """
    started = time.monotonic()
    settings = _demo_settings(source, as_of)
    last_day = settings.last_complete_day(datetime.now(UTC))
    with open_instance() as instance:
        done = last_day_with_history(instance, _FEATURES, settings)
        first = min(done + timedelta(days=1), last_day) if done else settings.partitions_start()
        console.rule(f"1 of 2: raw and features, {first} to {last_day}")
        _run(instance, settings, (first, last_day), [asset_key(CONCERTS), *HISTORY])
        # The day before too: the board tells what changed since then.
        before = max(last_day - timedelta(days=1), settings.partitions_start())
        console.rule(f"2 of 2: forecasts as of {before} and {last_day}, and the outlook board")
        _run(instance, settings, (before, last_day), [*FORECASTS, BOARD])
    _print_outlook(settings, last_day)
    console.print(f"Everything took {time.monotonic() - started:.0f} s.", style="dim")


def prepare() -> Settings:
    """Make what the UI needs: settings that name the source's first day, and an initialised instance."""
    settings = Settings.from_env()
    if settings.env == "local" and settings.first_day is None:
        settings = _demo_settings(settings.source, settings.last_day)
    # Several processes that initialise SQLite at the same time collide.
    with open_instance() as instance:
        limit_daily_pool(instance)
    return settings


def _run(instance: dg.DagsterInstance, settings: Settings, days: tuple[date, date], assets: list[dg.AssetKey]) -> None:
    result = run_job(instance, settings, DAILY_JOB, days=days, assets=assets)
    if not result.success:
        raise RuntimeError(failure_reason(result))


def _demo_settings(source: str, as_of: date | None) -> Settings:
    """Settings of the demo, kept in `<home>/demo.env` for the UI and the command line."""
    source = source if source == "sample" else str(Path(source).absolute())
    given = Settings.from_env()
    last = as_of
    if source == "sample":
        first = default_first_day(last or _yesterday(given))
    else:
        first, source_last = _source_days(given, source)
        # A source of the past ends with its own last day; one that lives goes on until yesterday.
        last = last or (source_last if source_last < _yesterday(given) - timedelta(days=30) else None)
    kept = _keep_or_archive(given, source)
    values = {"MMT_SOURCE": source, "MMT_FIRST_DAY": kept.get("MMT_FIRST_DAY") or first.isoformat()}
    if last:
        values["MMT_LAST_DAY"] = last.isoformat()
    given.home.mkdir(parents=True, exist_ok=True)
    (given.home / DEMO_SETTINGS).write_text("".join(f"{name}='{value}'\n" for name, value in values.items()))
    return Settings.from_env()


def _yesterday(settings: Settings) -> date:
    return datetime.now(settings.zone).date() - timedelta(days=1)


def _keep_or_archive(given: Settings, source: str) -> dict[str, str | None]:
    """Settings of an earlier demo of the same source; data of another source is moved out of the way, not lost."""
    demo_settings = given.home / DEMO_SETTINGS
    earlier = dotenv_values(demo_settings) if demo_settings.is_file() else {}
    history = dagster_home() / ".dagster_home"
    # A history of another warehouse would claim days that this one does not hold.
    is_orphaned = history.exists() and not given.warehouse_path.exists()
    if earlier.get("MMT_SOURCE") in (None, source) and not is_orphaned:
        return earlier
    archive = dagster_home() / ".demo-archive" / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    archive.mkdir(parents=True)
    for directory in (given.home, history):
        if directory.exists():
            directory.rename(archive / directory.name)
    moved = (
        f"An earlier demo ({earlier['MMT_SOURCE']})" if earlier.get("MMT_SOURCE") else "A history without its warehouse"
    )
    console.print(f"{moved} was moved to {archive}")
    return {}


def _source_days(settings: Settings, source: str) -> tuple[date, date]:
    # A warehouse of its own: the present one may belong to another source, and be busy.
    with (
        TemporaryDirectory() as directory,
        DuckDBWarehouse(Path(directory) / "days.duckdb").open(source=source) as session,
    ):
        days = session.query(Statement.from_file("raw/source_days.sql", timezone=settings.timezone)).iloc[0]
    if pd.isna(days["first_day"]):
        raise RuntimeError(f"{source}: no order or make has a readable time, so there is no first day")
    return pd.Timestamp(days["first_day"]).date(), pd.Timestamp(days["last_day"]).date()


def _print_outlook(settings: Settings, as_of: date) -> None:
    warehouse = DuckDBWarehouse(settings.warehouse_path, settings.busy_timeout_seconds)
    rows = Statement(
        "SELECT * FROM forecasts.concert_outlook WHERE as_of_date = @as_of ORDER BY days_to_show, concert_id",
        {"as_of": as_of},
    )
    with warehouse.open(read_only=True) as session:
        outlook = session.query(rows)
    today = int((outlook["days_to_show"] == 0).sum())
    title = f"Active concerts as of {as_of}: {len(outlook)} ({len(outlook) - today} ahead, {today} with the show today)"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading, width in (("concert", 20), ("artist", 18), ("city", 12)):
        table.add_column(heading, no_wrap=True, max_width=width)
    for heading in ("days", "sold", "capacity", "p10", "p50", "p90", "sell-out"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for row in outlook.itertuples():
        capacity = f"{row.capacity:,.0f}" if pd.notna(row.capacity) else "?"
        chance = f"{row.sell_out_probability:.0%}" if pd.notna(row.sell_out_probability) else "?"
        quantiles = (f"{value:,.0f}" for value in (row.final_p10, row.final_p50, row.final_p90))
        names = (escape(str(name)) for name in (row.concert_id, row.artist, row.city))
        table.add_row(
            *names, f"{row.days_to_show}", f"{row.sold:,}", capacity, *quantiles, chance, str(row.status_flag)
        )
    console.print(table)
    example = outlook["concert_id"].iloc[0] if len(outlook) else "CONCERT_ID"
    console.print(
        "days: to the show; sold, p10, p50, p90: net tickets now and at the show, with 10, 50, 90% quantiles.\n"
        "Where to look next:\n"
        f"  {board_address(settings.board_place)}    the outlook board, for any browser\n"
        "  make ui                                          lineage, checks, backfills at http://127.0.0.1:3000\n"
        f"  .venv/bin/python -m mmt_assets forecast {example}\n"
        '  .venv/bin/python -m mmt_assets query "SELECT reason, COUNT(*) FROM raw.rejected_rows GROUP BY 1"\n'
        f"  {settings.exports_path}/    Parquet copies of the forecast tables",
        highlight=False,
    )
