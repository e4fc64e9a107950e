"""`python -m mmt_assets board`: write the outlook board and say where it is."""

import webbrowser
from datetime import UTC, date, datetime
from pathlib import Path

from mmt_assets.assets.board import board_verdict, write_board
from mmt_assets.board import board_address
from mmt_assets.build import build_resources
from mmt_assets.cli.terminal import console
from mmt_assets.settings import Settings


def show_board(settings: Settings, as_of: date | None, output: Path | None, *, is_to_be_opened: bool) -> None:
    """Write the board from what the warehouse holds.

    Args:
        settings: Settings.
        as_of: A past day to show as it was forecast then, in a file of its own; None for the newest.
        output: File to write instead of the configured place.
        is_to_be_opened: Whether to open it in the browser.

    Raises:
        mmt_assets.board.NoOutlookError: No day up to `as_of` was forecast.
        mmt_assets.warehouse.WarehouseError: The warehouse is missing or busy.
    """
    if output is None and as_of is not None:
        output = settings.home / "board" / f"outlook-{as_of}.html"
    written = write_board(
        build_resources(settings)["warehouse"],
        settings,
        until=as_of or settings.last_complete_day(datetime.now(UTC)),
        place=str(output.absolute()) if output else None,
        with_on_demand=as_of is None,
    )
    console.print(board_verdict(written.board), highlight=False)
    console.print(f"Outlook board: {board_address(written.place)}", highlight=False, soft_wrap=True)
    if is_to_be_opened:
        webbrowser.open(board_address(written.place))
