"""The forecast of every active concert as of one day, from the pool of all concerts known on that day."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd

from mmt_assets.forecasting import components
from mmt_assets.forecasting.blend import fit_blend
from mmt_assets.forecasting.changes import Earlier, explain_changes, no_changes
from mmt_assets.forecasting.chunks import Learned, Task, compare_with, joined
from mmt_assets.forecasting.comparables import finished_part
from mmt_assets.forecasting.curves import choose_segmentation, curves_frame
from mmt_assets.forecasting.history import History, at_origin, build_history, on_record
from mmt_assets.forecasting.inputs import (
    Concerts,
    ForecastInputs,
    ForecastOptions,
    ForecastResult,
    Ints,
    Sales,
    epoch_day,
    read_concerts,
    read_sales,
)
from mmt_assets.forecasting.intervals import no_errors, pool_errors
from mmt_assets.forecasting.publishing import Spread, publish
from mmt_assets.forecasting.replay import replay
from mmt_assets.forecasting.standing import MIN_CONCERTS

ACTIVE_IN_POOL = 500

Learn = Callable[[ForecastInputs, date, ForecastOptions], Task]
"""`learn_task`, or what gives the same."""


def learn_task(inputs: ForecastInputs, as_of: date, options: ForecastOptions) -> Task:
    """Learn from all concerts together; what the task then forecasts depends on nothing else.

    Raises:
        ValueError: The frames are malformed or hold a sale after `as_of`.
    """
    day = epoch_day(as_of)
    concerts = read_concerts(inputs)
    sales = read_sales(inputs, concerts, day)
    pool = _pool(concerts, sales, day, options)
    learned = _learn(pool, day, options)
    return Task(concerts, sales, day, learned, compare_with(learned, pool, day), options)


def forecast(
    inputs: ForecastInputs,
    as_of: date,
    *,
    options: ForecastOptions,
    concert_ids: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    spread: Spread | None = None,
    earlier: Earlier | None = None,
    learn: Learn = learn_task,
) -> ForecastResult:
    """Forecast ticket sales of active concerts from what was known at the end of `as_of`.

    A concert's forecast is the same whether it is asked for alone or with all others: the pool that teaches
    the model never depends on `concert_ids`.

    Args:
        inputs: What was known; see `ForecastInputs`.
        as_of: The business day; the first forecast day is the next one.
        options: Engine and limits.
        concert_ids: Concerts to forecast; None means every active one. A cancelled one may be named.
        progress: Called with (concerts done, concerts in all).
        spread: Where the concerts are forecast, chunk by chunk; by default on this machine.
        earlier: A forecast of a day before, to explain what changed since.
        learn: Learns in place of `learn_task`, such as from what was kept.

    Returns:
        `ticket_sales`: concert_id, sales_date (as_of + 1 to the show), tickets_p10/p50/p90 (net of that day),
        cumulative_tickets_p10/p50/p90 (net), cumulative_gross_tickets_p10/p50/p90.
        `outlook`: one row per concert, columns `chunks.OUTLOOK_COLUMNS`. `booking_curves`: see `curves_frame`.
        `final_quantiles`: concert_id, level, tickets: the net total at the 19 levels 0.05 to 0.95.
        `changes`: see `explain_changes`; empty without `earlier`.

    Raises:
        ValueError: The frames are malformed, hold a sale after `as_of`, or a named concert cannot be forecast.
    """
    task = learn(inputs, as_of, options)
    result = forecast_targets(task, concert_ids, progress, spread)
    if earlier is None:
        return result
    return replace(result, changes=explain_changes(earlier, inputs, task, result.outlook, spread))


def forecast_targets(
    task: Task,
    concert_ids: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    spread: Spread | None = None,
) -> ForecastResult:
    """Forecast concerts by what was learned; arguments, result and errors as those of `forecast`."""
    made = joined(publish(task, _targets(task.concerts, task.day, concert_ids), progress, spread))
    table = made.outlook.assign(sell_out_date=pd.to_datetime(made.outlook["sell_out_date"]).astype("datetime64[ns]"))
    paths = made.ticket_sales
    ids = task.concerts.ids[paths.pop("concert").to_numpy(dtype=np.int64)]
    paths.insert(0, "concert_id", pd.Series(ids, dtype=object))
    curves = curves_frame(task.learned.knowledge.curves)
    return ForecastResult(paths, table, curves, made.final_quantiles, made.failures, no_changes())


def _targets(concerts: Concerts, day: int, concert_ids: Sequence[str] | None) -> Ints:
    """Return the rows to forecast, ordered by show date."""
    ahead = concerts.show >= day
    active = ahead & np.isin(concerts.status.astype(str), ("announced", "on_sale"))
    if concert_ids is None:
        return np.flatnonzero(active)
    allowed = {
        concert: row for row, concert in enumerate(concerts.ids) if ahead[row] and concerts.status[row] != "completed"
    }
    refused = sorted({str(concert) for concert in concert_ids if concert not in allowed})
    if refused:
        raise ValueError(f"concerts not known, without a show date, or finished as of the day: {refused[:5]}")
    return np.array(sorted({allowed[concert] for concert in concert_ids}), dtype=np.int64)


def _pool(concerts: Concerts, sales: Sales, day: int, options: ForecastOptions) -> History:
    """Return the concerts that teach: the newest finished ones and the next active ones, not cancelled.

    Where enough have finished, only those whose sale is on record from its first day on.
    """
    fine = concerts.status.astype(str) != "cancelled"
    finished = np.flatnonzero(fine & (concerts.show < day))[-options.pool_limit :]
    active = np.flatnonzero(fine & (concerts.show >= day))[:ACTIVE_IN_POOL]
    pool = build_history(concerts, sales, np.concatenate([finished, active]))
    whole = pool.take(on_record(pool, sales))
    return whole if (whole.concerts.show < day).sum() >= MIN_CONCERTS else pool


def _learn(history: History, day: int, options: ForecastOptions) -> Learned:
    sale_days = components.typical_sale_days(history, day)
    done = finished_part(history, day)
    whole = at_origin(done, day, sale_days)
    segmentation = choose_segmentation(whole, np.flatnonzero(whole.gross > 0))
    knowledge = components.learn(history, day, *segmentation)
    past = replay(history, day, options.origins, segmentation, options.engine)
    shrinkage = components.DEFAULT_SHRINKAGE if past is None else past.shrinkage
    knowledge = components.with_lessons(replace(knowledge, shrinkage=shrinkage), history)
    phi = components.dispersion(knowledge, history)
    if past is None:
        reason = f"{knowledge.finished_count} finished concerts: too few to calibrate on, wide intervals"
        return Learned(knowledge, None, no_errors(), phi, reason)
    blend = fit_blend(past, day)
    return Learned(knowledge, blend, pool_errors(past, blend, day), phi, f"{len(past.show)} past forecasts")
