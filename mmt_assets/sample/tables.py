"""The three source tables, a month at a time, as they look at the end of a business day."""

import calendar
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa

from mmt_assets.sample.concerts import Concert, announced_month, concerts_between
from mmt_assets.sample.demand import makes_of_day
from mmt_assets.sample.dirty import dirty_makes_of_day, dirty_orders_of_day
from mmt_assets.sample.sales import NEVER, Sales, simulate_sales
from mmt_assets.sample.world import date_of, day_number, day_of_second, day_start

_INSTANT = pa.timestamp("us", tz="UTC")
_CONCERTS = pa.schema(
    {
        "concert_id": pa.string(),
        "artist": pa.string(),
        "city": pa.string(),
        "country": pa.string(),
        "venue": pa.string(),
        "capacity": pa.int64(),
        "on_sale_at": _INSTANT,
        "show_at": _INSTANT,
        "status": pa.string(),
        "status_at": _INSTANT,
        "timezone": pa.string(),
    }
)
# ordered_at and made_at are text, because some rows hold no time at all.
_ORDERS = pa.schema(
    {
        "order_id": pa.string(),
        "concert_id": pa.string(),
        "ordered_at": pa.string(),
        "quantity": pa.int64(),
        "unit_price": pa.float64(),
        "currency": pa.string(),
        "status": pa.string(),
        "status_at": _INSTANT,
    }
)
_MAKES = pa.schema(
    {
        "fan_id": pa.string(),
        "artist": pa.string(),
        "city": pa.string(),
        "country": pa.string(),
        "made_at": pa.string(),
    }
)


@dataclass(frozen=True, slots=True)
class MonthSlice:
    """The business days of one month that a window covers, both ends included."""

    first_day: date
    last_day: date

    @property
    def name(self) -> str:
        """The month, as in the file's name."""
        return f"{self.first_day:%Y-%m}"

    @property
    def is_closed(self) -> bool:
        """Whether the month's last day is in the window: no later day can add rows."""
        return self.last_day.day == calendar.monthrange(self.last_day.year, self.last_day.month)[1]

    @property
    def day_numbers(self) -> range:
        """The days as day numbers."""
        return range(day_number(self.first_day), day_number(self.last_day) + 1)


@dataclass(frozen=True, slots=True)
class MonthContent:
    """The rows of one file and the last days for which exactly these rows are right, ends included."""

    rows: pa.Table
    right_from: date
    right_until: date


def month_slices(first_day: date, last_day: date) -> list[MonthSlice]:
    """Cut a window into its months.

    Args:
        first_day: First business day.
        last_day: Last business day, not before it.

    Returns:
        One slice per month, in order; the first and the last may be partial.
    """
    months = pd.period_range(first_day, last_day, freq="M")
    return [
        MonthSlice(max(first_day, month.start_time.date()), min(last_day, month.end_time.date())) for month in months
    ]


def _iso_text(seconds: np.ndarray) -> np.ndarray:
    return np.char.add(np.datetime_as_string(seconds.astype("datetime64[s]")), "Z").astype(object)


def _instants(seconds: Iterable[int | None]) -> pa.Array:
    return pa.array([None if second is None else second * 1_000_000 for second in seconds], pa.int64()).cast(_INSTANT)


def _text_or_broken(frame: pd.DataFrame, column: str) -> np.ndarray:
    """Write the times as text, except where a dirty row brings its own."""
    text = _iso_text(frame["second"].to_numpy(np.int64))
    if column not in frame:
        return text
    broken = frame[column]
    return np.where(broken.notna(), broken, text)


def _with_dirty(frame: pd.DataFrame, dirty: list[dict]) -> pd.DataFrame:
    """Put dirty rows behind the real rows of the same second."""
    if not dirty:
        return frame
    both = pd.concat([frame, pd.DataFrame(dirty)], ignore_index=True)
    return both.sort_values("second", kind="stable", ignore_index=True)


def _orders_frame(sales: Sales, days: range) -> pd.DataFrame:
    first, end = np.searchsorted(sales.days, [days.start, days.stop])
    return pd.DataFrame(
        {
            "order_id": [f"{sales.concert_id}-{number:06d}" for number in range(first + 1, end + 1)],
            "concert_id": sales.concert_id,
            "second": sales.seconds[first:end],
            "day": sales.days[first:end],
            "quantity": sales.quantities[first:end],
            "unit_price": sales.prices[first:end],
            "currency": sales.currency,
            "refund_second": sales.refund_seconds[first:end],
        }
    )


def _right_days(days: MonthSlice, last_day: date, refund_seconds: np.ndarray) -> tuple[date, date]:
    """Find for which last days a month of orders looks the same: until a day adds rows or a refund."""
    if not days.is_closed:
        return last_day, last_day
    refund_days = day_of_second(refund_seconds[refund_seconds != NEVER])
    known = refund_days <= day_number(last_day)
    right_from = max([day_number(days.last_day), *refund_days[known].tolist()])
    ahead = refund_days[~known]
    return date_of(right_from), date_of(int(ahead.min()) - 1) if len(ahead) else date.max


def orders_of_month(days: MonthSlice, last_day: date) -> MonthContent:
    """Give the orders placed in a month, with their status at the end of `last_day`.

    Args:
        days: The days of the month that the window covers.
        last_day: Business day by whose end something must have happened to be known.

    Returns:
        Rows in the order of their time, dirty ones among them.
    """
    sales = [simulate_sales(concert) for concert in concerts_between(days.first_day, days.last_day)]
    frame = pd.concat([_orders_frame(one, days.day_numbers) for one in sales], ignore_index=True)
    frame = frame.sort_values(["second", "order_id"], ignore_index=True)
    edges = np.searchsorted(frame["day"], np.arange(days.day_numbers.start, days.day_numbers.stop + 1))
    dirty = [
        row
        for day, begin, end in zip(days.day_numbers, edges[:-1], edges[1:], strict=True)
        for row in dirty_orders_of_day(day, frame.iloc[begin:end])
    ]
    frame = _with_dirty(frame, dirty)

    refund_seconds = frame["refund_second"].to_numpy(np.int64)
    refunded = refund_seconds < day_start(day_number(last_day) + 1)
    status = np.where(refunded, "refunded", "paid").astype(object)
    if "status" in frame:
        status = np.where(frame["status"].notna(), frame["status"], status)
    status_at = [second if known else None for second, known in zip(refund_seconds.tolist(), refunded, strict=True)]
    columns = {
        "ordered_at": _text_or_broken(frame, "ordered_at"),
        "status": status,
        "status_at": _instants(status_at),
    }
    rows = pa.table({name: columns.get(name, frame.get(name)) for name in _ORDERS.names}, schema=_ORDERS)
    right_from, right_until = _right_days(days, last_day, refund_seconds)
    return MonthContent(rows.replace_schema_metadata(None), right_from, right_until)


def makes_of_month(days: MonthSlice, last_day: date) -> MonthContent:
    """Give the makes of a month, in the order of their time, dirty ones among them.

    Args:
        days: The days of the month that the window covers.
        last_day: The window's last business day.

    Returns:
        The rows; a closed month never changes.
    """
    frames = [makes_of_day(day) for day in days.day_numbers]
    dirty = [row for day, frame in zip(days.day_numbers, frames, strict=True) for row in dirty_makes_of_day(day, frame)]
    frame = _with_dirty(pd.concat(frames, ignore_index=True), dirty)
    made_at = _text_or_broken(frame, "made_at")
    rows = pa.table({name: frame.get(name, made_at) for name in _MAKES.names} | {"made_at": made_at}, _MAKES)
    right_until = date.max if days.is_closed else last_day
    return MonthContent(rows.replace_schema_metadata(None), days.last_day, right_until)


def _concert_row(concert: Concert, end: int) -> dict[str, object]:
    status, status_second = concert.status_before(end)
    return {
        "concert_id": concert.concert_id,
        "artist": concert.artist_name,
        "city": concert.city.name,
        "country": concert.city.country,
        "venue": concert.venue,
        "capacity": concert.capacity,
        "on_sale_at": concert.on_sale_at,
        "show_at": concert.show_second,
        "status": status,
        "status_at": status_second,
        "timezone": concert.timezone,
    }


def concerts_by_month(first_day: date, last_day: date) -> dict[str, pa.Table]:
    """Give the concerts of a window by the month of their announcement.

    Args:
        first_day: First business day; concerts that were over before it are left out.
        last_day: Last business day; later announcements and changes are not known.

    Returns:
        Rows by month name, with the status at the end of `last_day`.
    """
    end = day_start(day_number(last_day) + 1)
    months: dict[str, list[dict[str, object]]] = {}
    for concert in concerts_between(first_day, last_day):
        months.setdefault(f"{announced_month(concert):%Y-%m}", []).append(_concert_row(concert, end))
    return {name: _concerts_table(rows) for name, rows in months.items()}


def _concerts_table(rows: list[dict]) -> pa.Table:
    columns = {
        field.name: (
            _instants(row[field.name] for row in rows)
            if field.type == _INSTANT
            else pa.array([row[field.name] for row in rows], field.type)
        )
        for field in _CONCERTS
    }
    return pa.table(columns, schema=_CONCERTS)
