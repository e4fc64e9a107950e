"""A what-if of one concert: read, forecast before and after, write one row."""

from datetime import UTC, date, datetime
from typing import Any

import pandas as pd
from dagster_pipes import PipesContext

from mmt_assets.contracts import CONCERT_SCENARIOS
from mmt_assets.forecasting import ForecastInputs, ForecastOptions
from mmt_assets.forecasting.model import Learn, learn_task
from mmt_assets.forecasting.scenarios import ConcertChange, forecast_change, price_factor
from mmt_assets.warehouse import ReplaceNewer, StaleWriteError, Statement
from mmt_assets.worker.job import WorkerJob
from mmt_assets.worker.link import UNLINKED, RunLink
from mmt_assets.worker.scenario_request import ScenarioRequest
from mmt_assets.worker.work import learner, read_inputs, require_active

_FIGURES = ("final_p10", "final_p50", "final_p90", "sell_out_probability")


class PriceUnknownError(ValueError):
    """There is no price so far to compare with."""


def run_scenario(job: WorkerJob, pipes: PipesContext, link: RunLink | None = None) -> None:
    """Make the job's what-if and report its row; the forecast tables are not touched.

    Args:
        job: What to do; `concert_id` and `scenario` are set.
        pipes: Where to report.
        link: Link to the run, where there is one: it must be current when the row is written.

    Raises:
        mmt_assets.forecasting.scenarios.ImpossibleChangeError: The change contradicts what is known.
        mmt_assets.warehouse.WarehouseError: The warehouse is busy or refuses a stale run.
    """
    concert_id, request, as_of = str(job.concert_id), job.scenario, job.as_of_dates[-1]
    if request is None:
        raise ValueError(f"the job of {concert_id} has no scenario")
    price = Statement.from_file("forecasts/mean_price.sql", concert_id=concert_id, as_of=as_of)
    with job.warehouse.connect().open(read_only=True) as session:
        inputs = read_inputs(session, as_of, job.timezone)
        mean_price = session.query(price)["mean_price"].iloc[0]
    require_active(concert_id, {as_of: inputs})
    row = scenario_row(
        inputs,
        as_of,
        concert_id,
        request,
        mean_price=None if pd.isna(mean_price) else mean_price,
        learn=learner(job, as_of, pipes),
    )
    rows = pd.DataFrame(
        [
            {
                **row,
                "computed_at": datetime.now(UTC),
                "run_id": job.run_id,
                "run_created_at": job.run_created_at,
                "commit": job.commit,
                "lock_hash": job.lock_hash,
            }
        ]
    )
    with job.warehouse.connect().open() as session:
        (link or UNLINKED).require_current()
        write = ReplaceNewer(CONCERT_SCENARIOS, rows, "scenario_id", ("as_of_date", "run_created_at"))
        [result] = session.write([write], fence=job.fence)
    if result.skipped:
        raise StaleWriteError(f"scenario {row['scenario_id']} of {concert_id} has a newer result than as of {as_of}")
    pipes.report_custom_message({"scenario_id": row["scenario_id"]})


def scenario_row(
    inputs: ForecastInputs,
    as_of: date,
    concert_id: str,
    request: ScenarioRequest,
    *,
    mean_price: float | None,
    learn: Learn = learn_task,
) -> dict[str, Any]:
    """Forecast before and after the change, as a row of the table without the run's columns.

    Args:
        inputs: What was known.
        as_of: The business day.
        concert_id: A concert that is ahead.
        request: The change.
        mean_price: Mean price of the tickets sold so far; None without any.
        learn: Learns in place of `learn_task`, such as from what was kept.
    """
    current = request.current_price if request.current_price is not None else mean_price
    factor = 1.0
    if request.price is not None and request.price_elasticity is not None:
        if not current:
            raise PriceUnknownError(
                f"{concert_id} has sold nothing yet as of {as_of}, so its price so far is unknown: give current_price"
            )
        factor = price_factor(request.price, float(current), request.price_elasticity)
    change = ConcertChange(request.capacity, request.show_date, request.on_sale_date, factor)
    before, after = forecast_change(inputs, as_of, concert_id, change, options=ForecastOptions(), learn=learn)
    old, new = before.outlook.iloc[0], after.outlook.iloc[0]
    concert = inputs.concerts[inputs.concerts["concert_id"] == concert_id].iloc[0]
    ahead = {name: row["final_gross_p50"] - row["gross_sold"] for name, row in (("old", old), ("new", new))}
    price = request.price if request.price is not None else current
    return {
        "concert_id": concert_id,
        "scenario_id": request.scenario_id(concert_id),
        "as_of_date": pd.Timestamp(as_of),
        "changes": request.in_words(),
        **{name: concert[name] for name in ("artist", "city", "country", "currency")},
        "sold": int(new["sold"]),
        "capacity": new["capacity"],
        "show_date": pd.Timestamp(request.show_date or concert["show_date"]),
        "on_sale_date": pd.Timestamp(request.on_sale_date) if request.on_sale_date else concert["on_sale_date"],
        "price": request.price,
        "current_price": None if current is None else float(current),
        "price_elasticity": request.price_elasticity,
        "demand_factor": factor,
        **{name: new[name] for name in _FIGURES},
        "sell_out_date": new["sell_out_date"],
        "revenue_ahead": None if price is None else float(ahead["new"] * float(price)),
        "unchanged_capacity": old["capacity"],
        "unchanged_show_date": pd.Timestamp(concert["show_date"]),
        **{f"unchanged_{name}": old[name] for name in _FIGURES},
        "unchanged_revenue_ahead": None if current is None else float(ahead["old"] * float(current)),
        "difference_p50": float(new["final_p50"] - old["final_p50"]),
        "assumptions": _assumptions(request),
        "method": new["method"],
    }


def _assumptions(request: ScenarioRequest) -> str:
    """Say what the result takes for granted."""
    said = ["what was bought so far stays"]
    if request.capacity is not None:
        said.append("another hall changes what can be sold, not what fans want")
    if request.show_date is not None:
        said.append("nobody gives tickets back because the date moved")
    if request.price is not None:
        said.append(f"demand changes by {request.price_elasticity:g}% per percent of price: assumed, not learned")
    return "; ".join(said)
