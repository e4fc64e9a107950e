"""Booking histories as a dense concerts x days-to-show matrix, and what of it was known on a past day."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from mmt_assets.forecasting.inputs import NO_DAY, Bools, Concerts, Floats, Ints, Sales

WINDOW_DAYS = 400
"""Most days before the show that are kept one by one; earlier sales are kept as one number per concert."""


@dataclass(frozen=True)
class History:
    """Daily tickets of n concerts by days to show.

    Attributes:
        concerts: The n concerts, ordered by show day.
        start: First day of sale: the earlier of on-sale date and first sale; `NO_DAY` if neither is known.
        sold: Gross tickets, shape (n, window + 1); column b is the day b days before the show.
        refunded: Refunded tickets, same shape.
        sold_before: Gross tickets earlier than the window, shape (n,). refunded_before: the same for refunds.
    """

    concerts: Concerts
    start: Ints
    sold: Floats
    refunded: Floats
    sold_before: Floats
    refunded_before: Floats

    @property
    def days_out(self) -> Ints:
        """Days to show of the columns."""
        return np.arange(self.sold.shape[1])

    def take(self, rows: Ints) -> Self:
        """Return the histories at these rows."""
        return replace(
            self,
            concerts=self.concerts.take(rows),
            start=self.start[rows],
            sold=self.sold[rows],
            refunded=self.refunded[rows],
            sold_before=self.sold_before[rows],
            refunded_before=self.refunded_before[rows],
        )


@dataclass(frozen=True)
class Origin:
    """n concerts as they were known at the end of one day each: the start of a forecast.

    Attributes:
        history: Their histories; columns below `days_to_show` are never read through this class.
        days_to_show: Days from the as-of day to the show, shape (n,), >= 0.
        start: First day of sale as known or assumed, shape (n,).
        known: Cells on sale and known, shape (n, window + 1).
        open: Cells of `known` before the concert sold out: those that show demand and not capacity.
        gross: Gross tickets sold, shape (n,). refunded: tickets refunded. net: the difference, at least 0.
        sold_out: Whether net sales have reached the capacity.
    """

    history: History
    days_to_show: Ints
    start: Ints
    known: Bools
    open: Bools
    gross: Floats
    refunded: Floats
    net: Floats
    sold_out: Bools

    @property
    def sale_days(self) -> Ints:
        """Days from the start of the sale to the show."""
        return self.history.concerts.show - self.start

    @property
    def age(self) -> Ints:
        """Days since the start of the sale; negative before it."""
        return self.sale_days - self.days_to_show


def build_history(concerts: Concerts, sales: Sales, rows: Ints, window: int = WINDOW_DAYS) -> History:
    """Spread the sales of some concerts over days to show.

    Sales dated after the show are left out: the final total is the one at show time.
    """
    # Sales are sorted by row: those of rows outside the range are not looked at.
    span = slice(*np.searchsorted(sales.row, [rows.min(), rows.max() + 1])) if len(rows) else slice(0)
    sales = Sales(sales.row[span], sales.day[span], sales.sold[span], sales.refunded[span])
    place = np.full(len(concerts.ids), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    chosen = place[sales.row] >= 0
    row, day = place[sales.row[chosen]], sales.day[chosen]
    some = concerts.take(rows)
    days_out = some.show[row] - day
    # Not wider than the longest sale: most of a forecast's time goes with the width.
    on_sale_out = np.where(some.on_sale == NO_DAY, 0, some.show - some.on_sale)
    window = min(window, max(int(days_out.max(initial=0)), int(on_sale_out.max(initial=0)), 0) + 1)
    in_window, early = (days_out >= 0) & (days_out <= window), days_out > window
    first = np.full(len(rows), np.iinfo(np.int64).max)
    np.minimum.at(first, row[days_out >= 0], day[days_out >= 0])
    on_sale = np.where(some.on_sale == NO_DAY, np.iinfo(np.int64).max, some.on_sale)
    start = np.minimum(first, on_sale)
    start = np.where(start == np.iinfo(np.int64).max, NO_DAY, np.minimum(start, some.show))
    count, cells = len(rows), window + 1
    cell = row * cells + days_out

    def spread(values: Floats) -> tuple[Floats, Floats]:
        inside = np.bincount(cell[in_window], values[chosen][in_window], count * cells)
        outside = np.bincount(row[early], values[chosen][early], count)
        return inside.reshape(count, cells).astype(np.float64), outside.astype(np.float64)

    sold, sold_before = spread(sales.sold)
    refunded, refunded_before = spread(sales.refunded)
    return History(some, start, sold, refunded, sold_before, refunded_before)


def on_record(history: History, sales: Sales) -> Ints:
    """Return the rows whose sale is on record from its first day on: of the others the first days look unsold."""
    if not len(sales.day):
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(history.start >= sales.day.min())


def at_origin(history: History, as_of: int | Ints, typical_sale_days: float) -> Origin:
    """Return what was known of these concerts at the end of a day; shows on or before it are complete.

    Args:
        history: Histories, possibly reaching beyond `as_of`.
        as_of: The day, or one per concert.
        typical_sale_days: Assumed length of sale where no on-sale date is known yet.
    """
    show = history.concerts.show
    days_to_show = np.maximum(show - as_of, 0)
    days_out = history.days_out
    visible = days_out[None, :] >= days_to_show[:, None]
    sold, refunded = history.sold * visible, history.refunded * visible
    assumed = np.minimum(np.maximum(show - round(typical_sale_days), as_of + 1), show)
    start = np.where(history.start == NO_DAY, assumed, history.start)
    known = visible & (days_out[None, :] <= (show - start)[:, None])
    before = history.sold_before - history.refunded_before
    running = before[:, None] + np.cumsum((sold - refunded)[:, ::-1], axis=1)[:, ::-1]
    reached = running >= np.where(np.isnan(history.concerts.capacity), np.inf, history.concerts.capacity)[:, None]
    # Once sold out, later cells tell capacity, not demand, even if refunds free a few seats.
    ever_reached = np.maximum.accumulate(reached[:, ::-1], axis=1)[:, ::-1]
    gross = history.sold_before + sold.sum(axis=1)
    returned = history.refunded_before + refunded.sum(axis=1)
    net = np.maximum(gross - returned, 0.0)
    capacity = history.concerts.capacity
    return Origin(
        history=history,
        days_to_show=days_to_show,
        start=start,
        known=known,
        open=known & ~ever_reached,
        gross=gross,
        refunded=returned,
        net=net,
        sold_out=np.isfinite(capacity) & (net >= capacity),
    )


def select(origin: Origin, rows: Ints) -> Origin:
    """Return the origin of these rows."""
    return Origin(
        history=origin.history.take(rows),
        days_to_show=origin.days_to_show[rows],
        start=origin.start[rows],
        known=origin.known[rows],
        open=origin.open[rows],
        gross=origin.gross[rows],
        refunded=origin.refunded[rows],
        net=origin.net[rows],
        sold_out=origin.sold_out[rows],
    )
