"""What the board shows, as it stands in the warehouse."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from mmt_assets.board.values import instant
from mmt_assets.contracts import ACCURACY, OUTLOOK_CHANGES, TableContract
from mmt_assets.forecasting.inputs import timestamps
from mmt_assets.warehouse import Session, Statement
from mmt_assets.warehouse.protocol import Value

RECENT_DAYS = 28
"""Days that count as recent for the demand of fans."""
DEMAND_AHEAD_DAYS = 84
REFERENCE_DAYS = 70
"""Days of all concerts' sales that the last one is judged against."""
# Cancelled concerts stay on the board until their show would have been.
_SHOWN_WITHOUT_OUTLOOK = "cancelled"


class NoOutlookError(Exception):
    """No day has an outlook; the message says what to do."""


@dataclass(frozen=True)
class BoardFrames:
    """Rows behind one board. Days are `datetime64`, midnight.

    Attributes:
        as_of: The board's day; single concerts may have been forecast on demand as of a later one.
        previous: The newest earlier day that has an outlook, or None.
        outlook: Rows of `forecasts.concert_outlook`, one per concert, with `is_on_demand`.
        earlier: What was forecast for them at the end of `previous`.
        causes: concert_id, earlier_as_of_date, and tickets by cause (`from_…`) of the changes since then; may be empty.
        expected: concert_id, sales_date, tickets_p50 that those earlier forecasts expected since.
        paths: concert_id, sales_date, p10, p50, p90: cumulative net tickets ahead.
        concerts: Every concert as it was known on the day, see `concerts_as_of.sql`.
        sales: concert_id, sales_date, tickets_sold, tickets_refunded of the concerts shown and their comparables.
        sales_by_day: sales_date, orders_count, tickets_sold, tickets_refunded of all concerts together.
        demand: artist, country, city, fans, recent_fans, and fans_ahead where it was forecast.
        rejected: source_table, reason, rejected_count of the day.
        accuracy: The scoreboard's headline; empty while there is none.
        last_order_at: When the last order was placed (UTC), None without any.
    """

    as_of: date
    previous: date | None
    outlook: pd.DataFrame
    earlier: pd.DataFrame
    causes: pd.DataFrame
    expected: pd.DataFrame
    paths: pd.DataFrame
    concerts: pd.DataFrame
    sales: pd.DataFrame
    sales_by_day: pd.DataFrame
    demand: pd.DataFrame
    rejected: pd.DataFrame
    accuracy: pd.DataFrame
    last_order_at: datetime | None


def read_board(session: Session, *, until: date, timezone: str, with_on_demand: bool = True) -> BoardFrames:
    """Read what the board shows.

    Args:
        session: Open warehouse.
        until: The newest day with an outlook up to this one is shown.
        timezone: Business time zone.
        with_on_demand: Whether forecasts made on demand replace the day's where they are newer.

    Raises:
        NoOutlookError: No day up to `until` has an outlook.
    """
    days = [stamp.date() for stamp in _rows(session, "days", until=until)["as_of_date"]]
    if not days:
        raise NoOutlookError(f"no outlook up to {until}: materialise forecasts/concert_outlook first (make demo)")
    as_of, previous = days[0], days[1] if len(days) > 1 else None
    outlook = _rows(session, "outlook", as_of=as_of, with_on_demand=with_on_demand)
    newest = max([as_of, *outlook["as_of_date"].dt.date])
    known = Statement.from_file("forecasts/concerts_as_of.sql", as_of=newest, timezone=timezone)
    concerts = _with_days(session.query(known))
    shown = [*outlook["concert_id"], *cancelled_ahead(concerts, newest)["concert_id"], *named_comparables(outlook)]
    # Without an earlier day nothing is compared: no row lies before the first one.
    before = previous or date.min
    last_order = _rows(session, "last_order", as_of=newest, first_day=as_of - timedelta(days=REFERENCE_DAYS))
    return BoardFrames(
        as_of=as_of,
        previous=previous,
        outlook=outlook,
        earlier=_rows(session, "earlier_outlook", as_of=before),
        causes=_where_written(session, OUTLOOK_CHANGES, "changes", as_of=as_of),
        expected=_rows(session, "expected_since", as_of=before, until=newest),
        paths=_paths(session, outlook, as_of),
        concerts=concerts,
        sales=_rows(session, "sales", until=newest, concert_ids=sorted({str(concert) for concert in shown})),
        sales_by_day=_rows(session, "sales_by_day", as_of=as_of, first_day=as_of - timedelta(days=REFERENCE_DAYS)),
        demand=_demand(session, as_of),
        rejected=_rows(session, "rejected", as_of=as_of),
        accuracy=_where_written(session, ACCURACY, "accuracy"),
        last_order_at=instant(last_order["ordered_at"].iloc[0]),
    )


def cancelled_ahead(concerts: pd.DataFrame, as_of: date) -> pd.DataFrame:
    """Cancelled concerts whose show would still be ahead: they have no outlook, but people look for them."""
    ahead = concerts["show_date"] >= pd.Timestamp(as_of)
    return concerts[(concerts["status"] == _SHOWN_WITHOUT_OUTLOOK) & ahead]


def named_comparables(outlook: pd.DataFrame) -> set[str]:
    """Ids of all concerts that the outlook compares with."""
    return {name for names in outlook["comparables"].dropna() for name in comparable_ids(names)}


def comparable_ids(names: Any) -> list[str]:
    """Ids in an outlook's `comparables`."""
    return [name for name in str(names).split(", ") if name] if pd.notna(names) else []


def _rows(session: Session, name: str, **parameters: Value) -> pd.DataFrame:
    return _with_days(session.query(Statement.from_file(f"board/{name}.sql", **parameters)))


def _with_days(frame: pd.DataFrame) -> pd.DataFrame:
    """Days as `datetime64`."""
    return frame.assign(**{str(name): timestamps(frame[name]) for name in frame if str(name).endswith("_date")})


def _paths(session: Session, outlook: pd.DataFrame, as_of: date) -> pd.DataFrame:
    day = _rows(session, "paths", as_of=as_of)
    on_demand = outlook.loc[outlook["is_on_demand"].astype(bool), "concert_id"].tolist()
    if not on_demand:
        return day
    made = _rows(session, "paths_on_demand", concert_ids=on_demand)
    return pd.concat([day[~day["concert_id"].isin(on_demand)], made], ignore_index=True)


def _demand(session: Session, as_of: date) -> pd.DataFrame:
    known = _rows(session, "demand", as_of=as_of, recent_after=as_of - timedelta(days=RECENT_DAYS))
    ahead = _rows(session, "demand_ahead", as_of=as_of, days_ahead=DEMAND_AHEAD_DAYS)
    return known.merge(ahead, on=["artist", "country", "city"], how="left")


def _where_written(session: Session, contract: TableContract, name: str, **parameters: Value) -> pd.DataFrame:
    """Rows of a table that older warehouses may not have yet."""
    written = set(_rows(session, "written_tables")["table_name"])
    return _rows(session, name, **parameters) if contract.table in written else pd.DataFrame()
