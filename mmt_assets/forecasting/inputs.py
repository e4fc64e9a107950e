"""What the forecast reads and returns: frames at the border, flat arrays inside.

Dates in every frame may be `datetime64` or `datetime.date` on the way in and are `datetime64[ns]`
(midnight, no time zone: a business day) on the way out. Inside, a day is an integer: days since 1970-01-01.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Engine = Literal["map", "stan", "none"]
Status = Literal["announced", "on_sale", "completed", "cancelled"]

NO_DAY = -(10**6)
"""Integer day that stands for a missing date."""

CONCERT_COLUMNS = (
    "concert_id",
    "artist",
    "city",
    "country",
    "venue",
    "capacity",
    "on_sale_date",
    "show_date",
    "status",
    "currency",
)
SALES_COLUMNS = ("concert_id", "sales_date", "tickets_sold", "tickets_refunded")
DEMAND_COLUMNS = ("artist", "country", "city", "fans_count")


@dataclass(frozen=True)
class ForecastInputs:
    """Everything known at the end of the as-of date.

    Attributes:
        concerts: One row per concert: concert_id, artist, city, country, venue, capacity (tickets, null or 0 =
            unknown), on_sale_date (null = not announced), show_date, status (see `Status`), currency.
        sales: Sparse daily tickets: concert_id, sales_date, tickets_sold, tickets_refunded. A missing row
            between on-sale and the as-of date means zero. Rows of concerts not in `concerts` are left out.
        demand: Fans per artist x country x city: artist, country, city, fans_count. May be empty.
    """

    concerts: pd.DataFrame
    sales: pd.DataFrame
    demand: pd.DataFrame


@dataclass(frozen=True)
class ForecastOptions:
    """How to forecast.

    Attributes:
        engine: Solver of the per-concert Prophet model; "none" leaves Prophet out of the blend.
        processes: Worker processes of the "stan" engine; 1 fits in this process.
        pool_limit: At most so many finished concerts, newest first, teach curves, prior and intervals.
        origins: At most so many past as-of dates are replayed to choose the blend and calibrate intervals.
    """

    engine: Engine = "map"
    processes: int = 1
    pool_limit: int = 1500
    origins: int = 26

    def __post_init__(self) -> None:
        if self.engine not in get_args(Engine):
            raise ValueError(f"engine {self.engine!r} is not one of {', '.join(get_args(Engine))}")
        if min(self.processes, self.pool_limit, self.origins) < 1:
            raise ValueError("processes, pool_limit and origins must be at least 1")


@dataclass(frozen=True)
class ForecastResult:
    """The frames of one as-of date; columns are told in `model.forecast`.

    Attributes:
        ticket_sales, outlook, booking_curves, final_quantiles: The rows.
        failures: Concerts that have no row because not even the prior could be published, and why.
    """

    ticket_sales: pd.DataFrame
    outlook: pd.DataFrame
    booking_curves: pd.DataFrame
    final_quantiles: pd.DataFrame
    failures: dict[str, str] = field(default_factory=dict)
    changes: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class Concerts:
    """Concerts as arrays of length n, ordered by show date, then id.

    Attributes:
        ids: Concert ids (str).
        show: Show day. on_sale: first day of sale or `NO_DAY`. status: `Status`.
        capacity: Tickets, NaN when unknown. demand: Fans of the artist in the city, NaN when unknown.
        groups: Column name to labels ("" when missing): artist, city, country, venue, currency.
    """

    ids: npt.NDArray[np.object_]
    show: Ints
    on_sale: Ints
    status: npt.NDArray[np.object_]
    capacity: Floats
    demand: Floats
    groups: dict[str, npt.NDArray[np.object_]] = field(default_factory=dict)

    def take(self, rows: Ints) -> Self:
        """Return the concerts at these rows."""
        return replace(
            self,
            ids=self.ids[rows],
            show=self.show[rows],
            on_sale=self.on_sale[rows],
            status=self.status[rows],
            capacity=self.capacity[rows],
            demand=self.demand[rows],
            groups={name: labels[rows] for name, labels in self.groups.items()},
        )


@dataclass(frozen=True)
class Sales:
    """Daily tickets as arrays: `row` points into `Concerts`; sorted by row."""

    row: Ints
    day: Ints
    sold: Floats
    refunded: Floats


def epoch_day(day: date) -> int:
    """Return the integer day of a date."""
    return int(np.datetime64(day, "D").astype(np.int64))


def timestamps(column: pd.Series) -> pd.Series:
    """Return a column of dates, which every engine brings in its own kind, as `datetime64`."""
    # pandas' cache would look each value up in Python, even of a column that is `datetime64` already.
    return pd.to_datetime(column, cache=False)


def epoch_days(column: pd.Series) -> Ints:
    """Return integer days of a column of dates, `NO_DAY` where it is null."""
    stamps = timestamps(column).to_numpy(dtype="datetime64[D]")
    return np.where(np.isnat(stamps), NO_DAY, stamps.astype(np.int64)).astype(np.int64)


def dates(days: npt.ArrayLike) -> npt.NDArray[np.datetime64]:
    """Return `datetime64[ns]` dates of integer days, NaT for `NO_DAY`."""
    days = np.asarray(days, dtype=np.int64)
    stamps = days.astype("datetime64[D]").astype("datetime64[ns]")
    stamps[days == NO_DAY] = np.datetime64("NaT")
    return stamps


def read_concerts(inputs: ForecastInputs) -> Concerts:
    """Check and convert the concerts.

    Raises:
        ValueError: A column is missing, an id appears twice, or a status is unknown.
    """
    frame = inputs.concerts
    _require(frame, CONCERT_COLUMNS, "concerts")
    _require(inputs.demand, DEMAND_COLUMNS, "demand")
    repeated = frame["concert_id"][frame["concert_id"].duplicated()]
    if not repeated.empty:
        raise ValueError(f"concerts: concert_id {repeated.iloc[0]!r} appears more than once")
    unknown = set(frame["status"].unique()) - set(get_args(Status))
    if unknown:
        raise ValueError(f"concerts: status {sorted(map(str, unknown))} is not in {get_args(Status)}")
    frame = frame.assign(show=epoch_days(frame["show_date"]), on_sale=epoch_days(frame["on_sale_date"]))
    # A concert without a show date has no days to show: there is nothing to forecast or to learn.
    frame = frame[frame["show"] != NO_DAY].sort_values(["show", "concert_id"], kind="stable")
    capacity = pd.to_numeric(frame["capacity"]).to_numpy(dtype=np.float64)
    return Concerts(
        ids=frame["concert_id"].to_numpy(dtype=object),
        show=frame["show"].to_numpy(dtype=np.int64),
        on_sale=frame["on_sale"].to_numpy(dtype=np.int64),
        status=frame["status"].to_numpy(dtype=object),
        capacity=np.where(np.isfinite(capacity) & (capacity > 0), capacity, np.nan),
        demand=_demand_of(frame, inputs.demand),
        groups={
            name: frame[name].astype(object).where(frame[name].notna(), "").to_numpy(dtype=object)
            for name in ("artist", "city", "country", "venue", "currency")
        },
    )


def read_sales(inputs: ForecastInputs, concerts: Concerts, as_of: int) -> Sales:
    """Check and convert the sales.

    Raises:
        ValueError: A column is missing, a date is missing, or a row is dated after the as-of date.
    """
    frame = inputs.sales
    _require(frame, SALES_COLUMNS, "sales")
    day = epoch_days(frame["sales_date"])
    if (day == NO_DAY).any():
        raise ValueError("sales: a row has no sales_date")
    if (day > as_of).any():
        latest = dates([day.max()])[0].astype("datetime64[D]")
        raise ValueError(f"sales: {int((day > as_of).sum())} rows after the as-of date (latest {latest})")
    row = pd.Index(concerts.ids).get_indexer(pd.Index(frame["concert_id"]))
    keep = np.flatnonzero(row >= 0)
    order = keep[np.lexsort((day[keep], row[keep]))]
    return Sales(
        row=row[order].astype(np.int64),
        day=day[order],
        sold=_tickets(frame["tickets_sold"])[order],
        refunded=_tickets(frame["tickets_refunded"])[order],
    )


def _demand_of(frame: pd.DataFrame, demand: pd.DataFrame) -> Floats:
    if demand.empty:
        return np.full(len(frame), np.nan)
    keys = ["artist", "country", "city"]
    fans = demand.groupby(keys, as_index=False)["fans_count"].sum()
    return frame[keys].merge(fans, on=keys, how="left")["fans_count"].to_numpy(dtype=np.float64)


def _tickets(column: pd.Series) -> Floats:
    return np.nan_to_num(pd.to_numeric(column).to_numpy(dtype=np.float64))


def _require(frame: pd.DataFrame, columns: Sequence[str], name: str) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"{name}: missing columns {missing}")
