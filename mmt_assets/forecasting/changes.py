"""Why a forecast differs from the one of a day before: the same model, given one new thing after the other."""

from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmt_assets.forecasting.chunks import Task
from mmt_assets.forecasting.inputs import ForecastInputs, epoch_day, read_concerts, read_sales, timestamps
from mmt_assets.forecasting.publishing import publish

if TYPE_CHECKING:
    from mmt_assets.forecasting.publishing import Spread

CAUSES = ("from_curve", "from_demand", "from_concert", "from_sales", "from_refunds")
CHANGE_COLUMNS = ("concert_id", "earlier_as_of_date", "earlier_p50", "final_p50", *CAUSES)
# Facts of a concert that its forecast rests on, beside the demand.
_FACTS = ("capacity", "show_date", "on_sale_date", "artist", "city", "country", "venue")


@dataclass(frozen=True)
class Earlier:
    """A forecast of a day before.

    Attributes:
        as_of: Its as-of date.
        inputs: What was known then; see `ForecastInputs`.
        outlook: concert_id, final_p50 that it published.
    """

    as_of: date
    inputs: ForecastInputs
    outlook: pd.DataFrame


def no_changes() -> pd.DataFrame:
    """The frame of no concert."""
    return pd.DataFrame(columns=list(CHANGE_COLUMNS))


def explain_changes(
    earlier: Earlier, inputs: ForecastInputs, task: Task, outlook: pd.DataFrame, spread: "Spread | None" = None
) -> pd.DataFrame:
    """Split the change of each median total into causes that add up to it.

    Five steps lead from the earlier forecast to today's, each a forecast by today's model, and each step's difference
    is a cause: what was learned anew (curves, prior, weights, intervals; late rows and new code show here too), the
    fans' demand, facts of the concert itself, the tickets sold since against those expected, the refunds since.
    Another order would share out differently what two causes do together.

    Args:
        earlier: The earlier forecast.
        inputs: What is known today.
        task: Today's task, with what was learned today.
        outlook: concert_id, final_p50 of today's forecast.
        spread: Where concerts are forecast; by default on this machine.

    Returns:
        Columns `CHANGE_COLUMNS`, one row per concert with both forecasts; causes in tickets.
    """
    both = earlier.outlook.merge(outlook[["concert_id", "final_p50"]], on="concert_id", suffixes=("_before", ""))
    both = both[both["concert_id"].isin(earlier.inputs.concerts["concert_id"])]
    both = both.sort_values("concert_id", ignore_index=True)
    ids = pd.Index(both["concert_id"])
    then = replace(task, day=epoch_day(earlier.as_of))
    relearned = _medians(then, earlier.inputs, ids, spread)
    asked = _medians(then, replace(earlier.inputs, demand=inputs.demand), ids, spread)
    facts = _with_status_of(earlier.inputs.concerts, inputs.concerts)
    known = replace(earlier.inputs, demand=inputs.demand, concerts=facts)
    changed = ids[_has_other_facts(inputs.concerts, earlier.inputs.concerts, ids)]
    planned = asked.copy()
    planned[ids.get_indexer(changed)] = _medians(then, known, changed, spread)
    sold = _medians(task, replace(inputs, sales=_without_refunds_after(inputs.sales, earlier.as_of)), ids, spread)
    before, after = both["final_p50_before"].to_numpy(dtype=float), both["final_p50"].to_numpy(dtype=float)
    steps = np.column_stack([before, relearned, asked, planned, sold, after])
    rows = pd.DataFrame(
        {
            "concert_id": both["concert_id"],
            "earlier_as_of_date": pd.Timestamp(earlier.as_of),
            "earlier_p50": before,
            "final_p50": after,
            **dict(zip(CAUSES, np.diff(steps, axis=1).T, strict=True)),
        }
    )
    # A concert that could not be forecast in one of the steps is left unexplained.
    return rows.dropna(subset=list(CAUSES), ignore_index=True)


def _medians(task: Task, inputs: ForecastInputs, ids: pd.Index, spread: "Spread | None") -> np.ndarray:
    """Median totals of some concerts, forecast from these inputs."""
    if not len(ids):
        return np.empty(0)
    concerts = read_concerts(inputs)
    rows = np.sort(pd.Index(concerts.ids).get_indexer(ids)).astype(np.int64)
    task = replace(task, concerts=concerts, sales=read_sales(inputs, concerts, task.day))
    made = pd.concat([part.outlook for part in publish(task, rows, spread=spread)], ignore_index=True)
    return made.set_index("concert_id")["final_p50"].reindex(ids).to_numpy(dtype=float)


def _with_status_of(then: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """Today's facts with the earlier status: a sale that has begun since is no fact of the day before."""
    status = then.set_index("concert_id")["status"]
    return now.assign(status=now["concert_id"].map(status).fillna(now["status"]))


def _has_other_facts(now: pd.DataFrame, then: pd.DataFrame, ids: pd.Index) -> np.ndarray:
    columns = list(_FACTS)
    left, right = (frame.set_index("concert_id")[columns].reindex(ids) for frame in (now, then))
    same = (left == right) | (left.isna() & right.isna())
    return ~same.all(axis=1).to_numpy(dtype=bool)


def _without_refunds_after(sales: pd.DataFrame, day: date) -> pd.DataFrame:
    later = timestamps(sales["sales_date"]) > pd.Timestamp(day)
    return sales.assign(tickets_refunded=sales["tickets_refunded"].where(~later, 0))
