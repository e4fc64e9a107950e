"""One row per concert."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, get_args

import pandas as pd

from mmt_assets.board.changes import Change, find_changes
from mmt_assets.board.read import BoardFrames, cancelled_ahead, comparable_ids
from mmt_assets.board.values import day, instant, number, text
from mmt_assets.forecasting.alerts import Silence, data_glitch, glitch_message, stalled_by_itself
from mmt_assets.forecasting.outlook import StatusFlag

DATA_GAP = "data_gap"
"""Shown instead of "stalled" where a concert fell silent together with all others."""
FLAGS: tuple[str, ...] = (*get_args(StatusFlag), DATA_GAP)


@dataclass(frozen=True)
class BoardConcert:
    """What the board shows of one concert; None where a table holds null.

    Attributes:
        flag: The table's status flag, or `DATA_GAP`.
        final_p10, final_p50, final_p90: None for a cancelled concert, which has no outlook.
        last_sale_date: Last day on which a ticket was sold.
        change: Against the day before; None without an earlier forecast.
    """

    concert_id: str
    as_of_date: date
    artist: str
    city: str
    country: str
    venue: str | None
    show_date: date
    on_sale_date: date | None
    days_to_show: int
    flag: str
    status_flag: str
    gross_sold: int
    refunded: int
    sold: int
    capacity: int | None
    final_p10: float | None = None
    final_p50: float | None = None
    final_p90: float | None = None
    sell_out_probability: float | None = None
    sell_out_date: date | None = None
    pace_tickets: float | None = None
    pace_pct: float | None = None
    comparables: tuple[str, ...] = ()
    demand_fans: int | None = None
    last_sale_date: date | None = None
    change: Change | None = None
    method: str | None = None
    method_reason: str | None = None
    champion: str | None = None
    origin: str | None = None
    is_on_demand: bool = False
    computed_at: datetime | None = None
    run_id: str | None = None
    commit: str | None = None
    lock_hash: str | None = None

    @property
    def days_without_sale(self) -> int | None:
        """Days up to the as-of date without a ticket sold."""
        return (self.as_of_date - self.last_sale_date).days if self.last_sale_date else None


@dataclass(frozen=True)
class BoardConcerts:
    """All concerts and what holds for them together.

    Attributes:
        rows: Active concerts, then cancelled ones whose show would still be ahead.
        silence: Days without any sale of any concert, where that means that the data stopped.
        silence_message: The same for people.
    """

    rows: tuple[BoardConcert, ...]
    silence: Silence | None
    silence_message: str | None


def build_concerts(frames: BoardFrames) -> BoardConcerts:
    """Put the rows of the board together."""
    outlook = frames.outlook
    could_sell = (outlook["status"] == "on_sale") & (outlook["status_flag"] != "sold_out")
    silence = data_glitch(frames.sales_by_day, frames.as_of, on_sale=bool(could_sell.any()))
    silent = outlook.loc[outlook["status_flag"] == "stalled", "concert_id"].tolist()
    stalled = stalled_by_itself(silent, frames.sales, frames.as_of, silence)
    changes = find_changes(frames)
    last_sales = _last_sales(frames.sales)
    rows = [*_active(outlook, stalled, changes, last_sales), *_cancelled(frames, last_sales)]
    return BoardConcerts(tuple(rows), silence, glitch_message(silence, int(could_sell.sum())) if silence else None)


def _active(
    outlook: pd.DataFrame, stalled: set[str], changes: Mapping[str, Change], last_sales: Mapping[str, date]
) -> Iterator[BoardConcert]:
    for row in outlook.to_dict("records"):
        concert, flag = str(row["concert_id"]), str(row["status_flag"])
        yield BoardConcert(
            **_facts(row),
            concert_id=concert,
            as_of_date=day(row["as_of_date"]),
            days_to_show=int(row["days_to_show"]),
            flag=DATA_GAP if flag == "stalled" and concert not in stalled else flag,
            status_flag=flag,
            gross_sold=int(row["gross_sold"]),
            refunded=int(row["refunded"]),
            sold=int(row["sold"]),
            final_p10=number(row["final_p10"]),
            final_p50=number(row["final_p50"]),
            final_p90=number(row["final_p90"]),
            sell_out_probability=number(row["sell_out_probability"]),
            sell_out_date=day(row["sell_out_date"]) if pd.notna(row["sell_out_date"]) else None,
            pace_tickets=number(row["pace_tickets"]),
            pace_pct=number(row["pace_pct"]),
            comparables=tuple(comparable_ids(row["comparables"])),
            demand_fans=_whole(row["demand_fans"]),
            last_sale_date=last_sales.get(concert),
            change=changes.get(concert),
            method=text(row["method"]),
            method_reason=text(row["method_reason"]),
            champion=text(row["champion"]),
            origin=text(row["origin"]),
            is_on_demand=bool(row["is_on_demand"]),
            computed_at=instant(row["computed_at"]),
            run_id=text(row["run_id"]),
            commit=text(row["commit"]),
            lock_hash=text(row["lock_hash"]),
        )


def _cancelled(frames: BoardFrames, last_sales: Mapping[str, date]) -> Iterator[BoardConcert]:
    """Cancelled concerts have no outlook: what they sold and gave back is all there is to say."""
    sales = frames.sales[frames.sales["sales_date"] <= pd.Timestamp(frames.as_of)]
    sums = sales.groupby("concert_id")[["tickets_sold", "tickets_refunded"]].sum().astype(int)
    totals = {str(concert): (sold, refunded) for concert, sold, refunded in sums.itertuples()}
    known = set(frames.outlook["concert_id"])
    for row in cancelled_ahead(frames.concerts, frames.as_of).to_dict("records"):
        concert = str(row["concert_id"])
        if concert in known:
            continue
        sold, refunded = totals.get(concert, (0, 0))
        yield BoardConcert(
            **_facts(row),
            concert_id=concert,
            as_of_date=frames.as_of,
            days_to_show=(day(row["show_date"]) - frames.as_of).days,
            flag="cancelled",
            status_flag="cancelled",
            gross_sold=sold,
            refunded=refunded,
            sold=sold - refunded,
            last_sale_date=last_sales.get(concert),
        )


def _facts(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        "artist": str(row["artist"]),
        "city": str(row["city"]),
        "country": str(row["country"]),
        "venue": text(row["venue"]),
        "show_date": day(row["show_date"]),
        "on_sale_date": day(row["on_sale_date"]) if pd.notna(row["on_sale_date"]) else None,
        "capacity": _whole(row["capacity"]),
    }


def _last_sales(sales: pd.DataFrame) -> dict[str, date]:
    sold = sales[sales["tickets_sold"] > 0]
    last = sold["sales_date"].groupby(sold["concert_id"]).max()
    return {str(concert): stamp.date() for concert, stamp in last.items()}


def _whole(value: object) -> int | None:
    found = number(value)
    return None if found is None else int(found)
