"""The board as a whole: its concerts in order, and figures over all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mmt_assets.board.attention import attention_order
from mmt_assets.board.concerts import BoardConcert, build_concerts
from mmt_assets.board.read import RECENT_DAYS, BoardFrames
from mmt_assets.forecasting.alerts import Silence

_NEEDS_ATTENTION = ("stalled", "behind")
_FULL = ("sold_out", "likely_sell_out")


@dataclass(frozen=True)
class Figures:
    """Figures over all concerts that are ahead; cancelled ones are left out."""

    concerts: int
    attention: int
    full: int
    sold: int
    expected: float
    filled: str
    change: float


def _figures(concerts: Sequence[BoardConcert]) -> Figures:
    ahead = [one for one in concerts if one.final_p50 is not None]
    measured = [one for one in ahead if one.capacity]
    places = sum(one.capacity or 0 for one in measured)
    share = sum(one.final_p50 or 0 for one in measured) / places if places else None
    return Figures(
        concerts=len(ahead),
        attention=sum(one.flag in _NEEDS_ATTENTION or bool(one.change and one.change.left_interval) for one in ahead),
        full=sum(one.flag in _FULL for one in ahead),
        sold=sum(one.sold for one in ahead),
        expected=sum(one.final_p50 or 0 for one in ahead),
        filled=f"{share:.0%} of the places where capacity is known" if share is not None else "no capacity is known",
        change=sum(one.change.tickets for one in ahead if one.change),
    )


@dataclass(frozen=True)
class Pulse:
    """Sales of all concerts on the as-of day; typical is the median day of the four weeks before."""

    sold: int
    orders: int
    refunded: int
    typical: float | None


def _pulse(frames: BoardFrames) -> Pulse:
    by_day = frames.sales_by_day.set_index("sales_date")[["tickets_sold", "orders_count", "tickets_refunded"]]
    day = pd.Timestamp(frames.as_of)
    sold, orders, refunded = (int(value) for value in by_day.reindex([day]).fillna(0).iloc[0])
    before = pd.date_range(end=day - pd.Timedelta(days=1), periods=RECENT_DAYS)
    weeks = by_day["tickets_sold"].reindex(before).fillna(0)
    return Pulse(sold, orders, refunded, float(weeks.median()) if weeks.any() else None)


@dataclass(frozen=True)
class Board:
    """Everything that is shown of one day.

    Attributes:
        frames: The tables' rows.
        concerts: In the order in which they deserve attention.
        silence: Days without any sale of any concert, where that means that the data stopped.
        silence_message: The same for people.
        figures: Over all concerts.
        pulse: Sales of the as-of day.
    """

    frames: BoardFrames
    concerts: tuple[BoardConcert, ...]
    silence: Silence | None
    silence_message: str | None
    figures: Figures
    pulse: Pulse


def build_board(frames: BoardFrames) -> Board:
    """Put the board of these rows together."""
    found = build_concerts(frames)
    concerts = tuple(sorted(found.rows, key=attention_order))
    return Board(frames, concerts, found.silence, found.silence_message, _figures(concerts), _pulse(frames))
