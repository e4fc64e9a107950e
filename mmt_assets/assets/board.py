"""The outlook board: what analysts and promoters look at, as one page that needs no Dagster."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from urllib.parse import quote

import dagster as dg
from dagster._core.definitions.metadata import RawMetadataValue

from mmt_assets.assets.catalog import OWNERS, asset_key, daily_freshness, table_asset
from mmt_assets.board import (
    FLAG_MEANINGS,
    About,
    Board,
    BoardConcert,
    board_address,
    build_board,
    read_board,
    reason,
    render_board,
    save_board,
)
from mmt_assets.contracts import ACCURACY, CITY_DEMAND_FORECAST, CONCERT_FORECAST, CONCERT_OUTLOOK, TICKET_SALES
from mmt_assets.resources import WarehouseResource
from mmt_assets.settings import Settings, SettingsError

BOARD = dg.AssetKey(["forecasts", "outlook_board"])
_SUMMARISED = 12
_DESCRIPTION = """One self-contained HTML page: every active concert by what needs attention, fan charts with
comparables, changes since the day before, fans by city, accuracy. Made after the daily run and after on-demand
forecasts.

A run replaces the page as a whole (MMT_BOARD); nobody ever sees half of one."""


@dataclass(frozen=True)
class WrittenBoard:
    """A board that was written.

    Attributes:
        board: What it shows.
        place: Where it is.
        size_bytes: Its size.
        seconds: How long reading, making and saving took.
    """

    board: Board
    place: str
    size_bytes: int
    seconds: float


def write_board(
    warehouse: WarehouseResource,
    settings: Settings,
    *,
    until: date,
    place: str | None = None,
    with_on_demand: bool = True,
) -> WrittenBoard:
    """Make the board of the newest day up to `until` and save it.

    Args:
        warehouse: Where the tables are.
        settings: Settings.
        until: Last day to show.
        place: Where to save it instead of the configured place.
        with_on_demand: Whether newer forecasts made on demand are shown.

    Raises:
        mmt_assets.board.NoOutlookError: Nothing was forecast yet.
    """
    started = time.monotonic()
    place = place or settings.board_place
    with warehouse.open(read_only=True) as session:
        frames = read_board(session, until=until, timezone=settings.timezone, with_on_demand=with_on_demand)
    about = About(
        generated_at=datetime.now(UTC),
        timezone=settings.timezone,
        is_sample=settings.source == "sample",
        dagster_url=settings.dagster_address,
    )
    board = build_board(frames)
    page = render_board(board, about)
    save_board(page, place, project=settings.project)
    return WrittenBoard(board, place, len(page.encode()), time.monotonic() - started)


def board_asset(settings: Settings) -> dg.AssetsDefinition:
    """The board."""

    @table_asset(
        key=BOARD,
        deps=[
            asset_key(contract)
            for contract in (CONCERT_OUTLOOK, TICKET_SALES, CITY_DEMAND_FORECAST, CONCERT_FORECAST, ACCURACY)
        ],
        group_name=BOARD.path[0],
        description=_DESCRIPTION,
        owners=OWNERS,
        kinds={"python", "html"},
        freshness_policy=daily_freshness(settings),
    )
    def outlook_board(warehouse: WarehouseResource) -> dg.MaterializeResult:
        written = write_board(warehouse, settings, until=settings.last_complete_day(datetime.now(UTC)))
        return dg.MaterializeResult(metadata=board_metadata(written))

    return outlook_board


def board_metadata(written: WrittenBoard) -> dict[str, RawMetadataValue]:
    """What Dagster shows of a board: a verdict, where it is, the concerts to look at first, figures over time."""
    board, figures = written.board, written.board.figures
    return {
        "verdict": board_verdict(board),
        "board": _link(written.place),
        "look_first": dg.MetadataValue.md(_summary(board.concerts)),
        "as_of_date": board.frames.as_of.isoformat(),
        "concerts": figures.concerts,
        "need_attention": figures.attention,
        "sold_out_or_likely": figures.full,
        "tickets_sold": figures.sold,
        "tickets_expected": figures.expected,
        "tickets_expected_change": figures.change,
        "days_without_any_sale": board.silence.days if board.silence else 0,
        "page_bytes": written.size_bytes,
        "seconds": round(written.seconds, 3),
    }


def board_link(settings: Settings, concert_id: str) -> dict[str, RawMetadataValue]:
    """Where the board shows a concert; empty where no place for a board is set."""
    try:
        place = settings.board_place
    except SettingsError:
        return {}
    return {"board": _link(place, f"#concert={quote(concert_id)}")}


def _link(place: str, fragment: str = "") -> dg.MetadataValue:
    """An address to click, or a path to copy: browsers follow no link from a server to a file."""
    address = board_address(place) + fragment
    return dg.MetadataValue.url(address) if address.startswith("https") else dg.MetadataValue.path(address)


def board_verdict(board: Board) -> str:
    """One line for people."""
    figures, since = board.figures, board.frames.previous
    change = f" ({figures.change:+,.0f} since {since})" if since else ""
    gap = f" {board.silence_message}" if board.silence_message else ""
    return (
        f"{figures.concerts} concerts as of {board.frames.as_of}: {figures.sold:,} tickets sold, "
        f"{figures.expected:,.0f} expected at the shows{change}; {figures.attention} need attention, "
        f"{figures.full} are sold out or likely to be.{gap}"
    )


def _summary(concerts: Sequence[BoardConcert]) -> str:
    lines = ["| concert | show | sold | expected | status | why |", "|---|---|--:|--:|---|---|"]
    for one in concerts[:_SUMMARISED]:
        expected = "" if one.final_p50 is None else f"{one.final_p50:,.0f}"
        name = _markdown(f"{one.artist}, {one.city}")
        label = FLAG_MEANINGS[one.flag].label
        lines.append(f"| {name} | {one.show_date} | {one.sold:,} | {expected} | {label} | {reason(one)} |")
    left = len(concerts) - _SUMMARISED
    return "\n".join([*lines, f"\n{left} more on the board." if left > 0 else ""])


def _markdown(text: str) -> str:
    """Text in which Markdown sees no markup."""
    return re.sub(r"([^\w\s,])", r"\\\1", " ".join(text.split()))
