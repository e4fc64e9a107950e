"""What if a concert had another capacity, date, start of sale or price: its forecast before and after the change."""

from dataclasses import dataclass, replace
from datetime import date

import pandas as pd

from mmt_assets.forecasting.chunks import Supposition
from mmt_assets.forecasting.inputs import (
    ForecastInputs,
    ForecastOptions,
    ForecastResult,
    epoch_day,
    read_concerts,
    read_sales,
)
from mmt_assets.forecasting.model import Learn, forecast_targets, learn_task


class ImpossibleChangeError(ValueError):
    """The change cannot be made to this concert; the message says why."""


@dataclass(frozen=True)
class ConcertChange:
    """A change of one concert; None leaves a value as it is.

    Attributes:
        capacity: Seats from now on.
        show_date: Day of the show.
        on_sale_date: First day of sale, for a concert that is not on sale yet.
        demand_factor: Factor on the tickets that would be bought from now on.
    """

    capacity: int | None = None
    show_date: date | None = None
    on_sale_date: date | None = None
    demand_factor: float = 1.0


def price_factor(price: float, current_price: float, elasticity: float) -> float:
    """Return the factor on demand of constant elasticity: (price / current_price) ^ elasticity.

    Prices are set where demand is high, so past sales do not tell what a price does: the elasticity is an assumption.
    """
    return (price / current_price) ** elasticity


def forecast_change(
    inputs: ForecastInputs,
    as_of: date,
    concert_id: str,
    change: ConcertChange,
    *,
    options: ForecastOptions,
    learn: Learn = learn_task,
) -> tuple[ForecastResult, ForecastResult]:
    """Forecast a concert as it is and as it would be, by the same learned model.

    The capacity limits what is sold from now on. It does not change what fans want, and what sold out under the old one
    stays judged by it.

    Args:
        inputs: What was known; see `ForecastInputs`.
        as_of: The business day.
        concert_id: A concert that is ahead.
        change: What is supposed.
        options: Engine and limits.
        learn: Learns in place of `learn_task`, such as from what was kept.

    Raises:
        ImpossibleChangeError: The change contradicts what is known.
        ValueError: The frames are malformed or the concert cannot be forecast.
    """
    task = learn(inputs, as_of, options)
    before = forecast_targets(task, [concert_id])
    _require_possible(inputs, as_of, concert_id, change, sold=int(before.outlook["sold"].iloc[0]))
    changed = inputs.concerts.copy()
    row = changed["concert_id"] == concert_id
    for column in ("show_date", "on_sale_date"):
        if (value := getattr(change, column)) is not None:
            changed[column] = pd.to_datetime(changed[column]).mask(row, pd.Timestamp(value))
    known = replace(inputs, concerts=changed)
    concerts = read_concerts(known)
    supposed = Supposition(None if change.capacity is None else float(change.capacity), change.demand_factor)
    supposing = replace(task, concerts=concerts, sales=read_sales(known, concerts, epoch_day(as_of)), supposed=supposed)
    return before, forecast_targets(supposing, [concert_id])


def _require_possible(inputs: ForecastInputs, as_of: date, concert_id: str, change: ConcertChange, sold: int) -> None:
    row = inputs.concerts[inputs.concerts["concert_id"] == concert_id].iloc[0]
    show = change.show_date or pd.Timestamp(row["show_date"]).date()
    known_start = None if pd.isna(row["on_sale_date"]) else pd.Timestamp(row["on_sale_date"]).date()
    start = change.on_sale_date or known_start
    if change.capacity is not None and change.capacity < sold:
        raise ImpossibleChangeError(f"capacity {change.capacity:,}: {sold:,} tickets of {concert_id} are sold already")
    if change.on_sale_date is not None and known_start is not None and known_start <= as_of:
        raise ImpossibleChangeError(
            f"on-sale date {change.on_sale_date}: {concert_id} has been on sale since {known_start}"
        )
    if change.on_sale_date is not None and change.on_sale_date <= as_of:
        raise ImpossibleChangeError(f"on-sale date {change.on_sale_date}: the as-of date {as_of} is over already")
    if change.show_date is not None and change.show_date <= as_of:
        raise ImpossibleChangeError(f"show date {change.show_date}: the as-of date {as_of} is over already")
    if start is not None and start > show:
        raise ImpossibleChangeError(f"the sale would begin on {start}, after the show on {show}")
