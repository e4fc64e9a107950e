"""Causes of a change: each new thing moves its own cause, and all of them add up."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from functools import cache

import pandas as pd
import pytest

from mmt_assets.forecasting.changes import CAUSES, Earlier
from mmt_assets.forecasting.inputs import CONCERT_COLUMNS, ForecastInputs, ForecastOptions
from mmt_assets.forecasting.model import forecast

AS_OF = date(2024, 6, 30)
BEFORE = AS_OF - timedelta(days=1)
OPTIONS = ForecastOptions(engine="none", origins=4)
LENGTH, FINISHED = 40, 40
FANS = pd.DataFrame(
    [(f"A{i}", "KR", "Seoul", 100 + 40 * i) for i in range(FINISHED + 3)],
    columns=["artist", "country", "city", "fans_count"],
)
Change = Callable[[ForecastInputs], ForecastInputs]


@cache
def world(until: date) -> ForecastInputs:
    """Forty finished concerts, two on sale, one announced; who has more fans sells more, steadily, without refunds."""
    concerts, sales = [], []
    for i in range(FINISHED + 3):
        show = AS_OF + timedelta(days=-2 - i if i < FINISHED else 20 if i < FINISHED + 2 else LENGTH + 2)
        on_sale = show - timedelta(days=LENGTH)
        labels = (f"A{i}", "Seoul", "KR", "Hall")
        status = "completed" if i < FINISHED else "on_sale" if on_sale <= until else "announced"
        concerts.append((f"c{i:02d}", *labels, 30000.0, on_sale, show, status, "KRW"))
        days = pd.date_range(on_sale, min(show, until))
        sales += [(f"c{i:02d}", day, 10 + 4 * i, 0) for day in days]
    columns = ["concert_id", "sales_date", "tickets_sold", "tickets_refunded"]
    return ForecastInputs(
        pd.DataFrame(concerts, columns=list(CONCERT_COLUMNS)), pd.DataFrame(sales, columns=columns), FANS
    )


def explained(change: Change) -> pd.DataFrame:
    """Causes of the change from `BEFORE` to `AS_OF`, the latter changed."""
    then = world(BEFORE)
    earlier = Earlier(BEFORE, then, forecast(then, BEFORE, options=OPTIONS).outlook)
    result = forecast(change(world(AS_OF)), AS_OF, options=OPTIONS, earlier=earlier)
    rows = result.changes.set_index("concert_id")
    assert set(rows.index) == {"c40", "c41", "c42"}
    pd.testing.assert_series_equal(
        rows["final_p50"], result.outlook.set_index("concert_id")["final_p50"].loc[rows.index], check_names=False
    )
    total = rows["final_p50"] - rows["earlier_p50"]
    assert rows[list(CAUSES)].sum(axis=1).to_numpy() == pytest.approx(total.to_numpy(), abs=1e-9)
    return rows


def more_sales(inputs: ForecastInputs) -> ForecastInputs:
    """C40 sold three times as much on the last day."""
    hit = (inputs.sales["concert_id"] == "c40") & (inputs.sales["sales_date"] == pd.Timestamp(AS_OF))
    sold = inputs.sales["tickets_sold"]
    return replace(inputs, sales=inputs.sales.assign(tickets_sold=sold.where(~hit, sold * 3)))


def more_fans(inputs: ForecastInputs) -> ForecastInputs:
    hit = inputs.demand["artist"] == "A42"
    fans = inputs.demand["fans_count"]
    return replace(inputs, demand=inputs.demand.assign(fans_count=fans.where(~hit, fans * 3)))


def smaller_hall(inputs: ForecastInputs) -> ForecastInputs:
    hit = inputs.concerts["concert_id"] == "c40"
    return replace(inputs, concerts=inputs.concerts.assign(capacity=inputs.concerts["capacity"].where(~hit, 4500.0)))


def refunds(inputs: ForecastInputs) -> ForecastInputs:
    hit = (inputs.sales["concert_id"] == "c40") & (inputs.sales["sales_date"] == pd.Timestamp(AS_OF))
    return replace(inputs, sales=inputs.sales.assign(tickets_refunded=hit.astype(int) * 200))


def nothing(inputs: ForecastInputs) -> ForecastInputs:
    return inputs


@cache
def of_a_quiet_day() -> pd.DataFrame:
    return explained(nothing)


@pytest.mark.parametrize(
    ("change", "concert", "cause", "sign"),
    [
        (more_sales, "c40", "from_sales", 1),
        (more_fans, "c42", "from_demand", 1),
        (smaller_hall, "c40", "from_concert", -1),
        (refunds, "c40", "from_refunds", -1),
    ],
)
def test_what_is_new_moves_its_own_cause(change: Change, concert: str, cause: str, sign: int) -> None:
    news = (explained(change)[list(CAUSES)] - of_a_quiet_day()[list(CAUSES)]).to_dict("index")
    moved = news[concert]
    assert sign * moved[cause] > 1
    assert max(moved, key=lambda name: abs(moved[name])) == cause
    # The other concert has only what the model learned from it all.
    other = [abs(tickets) for name, tickets in news["c41"].items() if name != "from_curve"]
    assert max(other) < abs(moved[cause]) / 4


def test_without_news_only_sales_against_the_expected_and_the_model_move() -> None:
    quiet = of_a_quiet_day()
    assert quiet[["from_demand", "from_concert", "from_refunds"]].abs().to_numpy().max() == 0
    assert quiet["from_sales"].abs().max() < 0.1 * quiet["final_p50"].max()


def test_without_an_earlier_forecast_nothing_is_explained() -> None:
    assert forecast(world(AS_OF), AS_OF, options=OPTIONS).changes.empty
