"""What changed in a forecast since the day before it, and what caused it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import pandas as pd

from mmt_assets.board import text
from mmt_assets.board.read import BoardFrames
from mmt_assets.board.values import day

# Column of a cause: what people call it.
CAUSES = {
    "from_sales": "new sales",
    "from_refunds": "refunds",
    "from_demand": "demand",
    "from_concert": "capacity or dates",
    "from_curve": "curve and model",
}
# A forecast made on demand since may differ from the one that the causes explain.
_SAME_TICKETS = 0.5
# Close to the show an interval is a few tickets wide: leaving it by less than this is no news.
_SMALLEST_MOVE_TICKETS = 5.0
_SMALLEST_MOVE_SHARE = 0.01


@dataclass(frozen=True)
class Change:
    """One concert's change.

    Attributes:
        since: As-of date of the earlier forecast.
        before_p50: What it expected at the show.
        tickets: New median of the final total minus the earlier one.
        left_interval: Whether the new median lies outside the earlier 80% interval, by more than a trifle.
        sold: Net tickets since then.
        expected: Net tickets that the earlier forecast expected for these days; None where it had none.
        refunded: Tickets refunded since then.
        capacity: Capacity then, where it was another one.
        show_date: Day of the show then, where it was another one.
        causes: Tickets by cause (`CAUSES`); they add up to `tickets`. Empty where they were not worked out.
    """

    since: date
    before_p50: float
    tickets: float
    left_interval: bool
    sold: int
    expected: float | None
    refunded: int
    capacity: int | None = None
    show_date: date | None = None
    causes: Mapping[str, float] = field(default_factory=dict)

    @property
    def main_cause(self) -> str:
        """The largest cause, or, where none was worked out, what was sold against what was expected."""
        if self.causes:
            cause = max(self.causes, key=lambda name: abs(self.causes[name]))
            return f"{CAUSES[cause]} {text.signed(self.causes[cause])}"
        expected = "" if self.expected is None else f", {text.tickets(self.expected)} expected"
        return f"sold {text.tickets(self.sold)}{expected}"


def find_changes(frames: BoardFrames) -> dict[str, Change]:
    """Changes by concert, of those that were forecast before."""
    if frames.previous is None:
        return {}
    since = frames.previous
    now = {str(row["concert_id"]): row for row in frames.outlook.to_dict("records")}
    expected, causes = _expected(frames), _causes(frames)
    changes = {}
    for row in frames.earlier[frames.earlier["concert_id"].isin(now.keys())].to_dict("records"):
        concert = str(row["concert_id"])
        new = now[concert]
        p50 = float(new["final_p50"])
        capacity, show = row["capacity"], day(row["show_date"])
        by_cause = causes.get(concert, {})
        explains = abs(sum(by_cause.values()) - (p50 - float(row["final_p50"]))) < _SAME_TICKETS
        changes[concert] = Change(
            since=since,
            before_p50=float(row["final_p50"]),
            tickets=p50 - float(row["final_p50"]),
            left_interval=_left_interval(row["final_p10"], row["final_p50"], row["final_p90"], p50),
            sold=int(new["sold"]) - int(row["sold"]),
            expected=expected.get(concert),
            refunded=int(new["refunded"]) - int(row["refunded"]),
            capacity=int(capacity) if pd.notna(capacity) and capacity != new["capacity"] else None,
            show_date=show if show != day(new["show_date"]) else None,
            causes=by_cause if explains else {},
        )
    return changes


def _expected(frames: BoardFrames) -> dict[str, float]:
    """Net tickets that the earlier forecasts expected until each concert's as-of date."""
    until = frames.outlook.set_index("concert_id")["as_of_date"]
    rows = frames.expected[frames.expected["concert_id"].isin(until.index)]
    past = rows["sales_date"] <= rows["concert_id"].map(until)
    totals = rows[past].groupby("concert_id")["tickets_p50"].sum()
    return {str(concert): float(tickets) for concert, tickets in totals.items()}


def _causes(frames: BoardFrames) -> dict[str, dict[str, float]]:
    """Tickets by cause of each concert, where they lead from the day that the board compares with."""
    rows = frames.causes
    if rows.empty or frames.previous is None:
        return {}
    rows = rows[rows["earlier_as_of_date"] == pd.Timestamp(frames.previous)]
    return {str(row["concert_id"]): {name: float(row[name]) for name in CAUSES} for row in rows.to_dict("records")}


def _left_interval(p10: float, p50: float, p90: float, now: float) -> bool:
    trifle = max(_SMALLEST_MOVE_TICKETS, _SMALLEST_MOVE_SHARE * p50)
    return now < p10 - trifle or now > p90 + trifle
