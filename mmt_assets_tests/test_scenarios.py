"""What-ifs: what may be asked, what the answer says, and that no forecast is touched by it."""

from datetime import date, timedelta
from typing import Any

import dagster as dg
import pytest

from mmt_assets.build import build_definitions
from mmt_assets.contracts import CONCERT_FORECAST, CONCERT_SCENARIOS, PUBLISHED_OUTLOOK, TICKET_SALES
from mmt_assets.forecasting.scenarios import ImpossibleChangeError
from mmt_assets.job_names import SCENARIO_JOB
from mmt_assets.warehouse import DuckDBWarehouse
from mmt_assets.worker.scenario import PriceUnknownError, scenario_row
from mmt_assets.worker.scenario_request import ScenarioRequest, read_request
from mmt_assets.worker.work import read_inputs
from mmt_assets_tests.small_world import DAY_TABLES, LAST

# Its type lives in conftest.py, which nobody imports.
Pipeline = Any


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "nothing is changed: give capacity, show_date, on_sale_date or price"),
        ({"capacity": 0}, "capacity: Input should be greater than or equal to 1"),
        ({"show_date": "soon"}, "show_date: Input should be a valid date"),
        ({"price": 50}, "price needs price_elasticity: by how many percent demand changes"),
        ({"price": -1, "price_elasticity": 0.5}, "price: Input should be greater than 0; price_elasticity: Input"),
        ({"capacity": 10, "price_elasticity": -1}, "say something about a price: give price too"),
        ({"seats": 10}, "seats: Extra inputs are not permitted"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read_request(given)
    assert told in str(caught.value)


def test_the_same_question_of_the_same_concert_has_the_same_id() -> None:
    request = read_request({"capacity": 500})
    assert request.scenario_id("a") == ScenarioRequest(capacity=500).scenario_id("a")
    others = [request.scenario_id("b"), read_request({"capacity": 501}).scenario_id("a")]
    assert request.scenario_id("a") not in others
    price = ScenarioRequest(capacity=1500, price=60, price_elasticity=-0.5, show_date=date(2026, 5, 1))
    assert price.in_words() == "capacity 1,500, show on 2026-05-01, price 60.00 (elasticity -0.5 assumed)"


def suppose(pipeline: Pipeline, concert_id: str, **changes: Any) -> dg.ExecuteInProcessResult:
    job = build_definitions(pipeline.settings).resolve_job_def(SCENARIO_JOB)
    pipeline.instance.add_dynamic_partitions("concerts", [concert_id])
    return job.execute_in_process(
        instance=pipeline.instance,
        partition_key=concert_id,
        run_config={"ops": {"forecasts__concert_scenarios": {"config": changes}}},
        raise_on_error=False,
    )


def test_a_what_if_is_one_row_beside_the_forecast_and_touches_nothing_else(loaded: Pipeline) -> None:
    loaded.load(LAST, assets=DAY_TABLES)
    contracts = (CONCERT_FORECAST, PUBLISHED_OUTLOOK, TICKET_SALES)
    before = [loaded.table(contract) for contract in contracts]
    exports = {path: path.stat().st_mtime_ns for path in loaded.settings.exports_path.rglob("*.parquet")}
    first = suppose(loaded, "c13", capacity=200)
    assert first.success, loaded.failure(first)
    assert suppose(loaded, "c13", capacity=200).success
    assert suppose(loaded, "c13", price=60.0, price_elasticity=-1.0).success

    rows = loaded.query("SELECT * FROM forecasts.concert_scenarios ORDER BY changes").to_dict("records")
    assert [row["changes"] for row in rows] == ["capacity 200", "price 60.00 (elasticity -1 assumed)"]
    [forecast] = loaded.query("SELECT * FROM forecasts.concert_outlook WHERE concert_id = 'c13'").to_dict("records")
    for row in rows:
        assert {row[f"unchanged_final_p{q}"] - forecast[f"final_p{q}"] for q in (10, 50, 90)} == {0}
        assert row["unchanged_sell_out_probability"] == forecast["sell_out_probability"]
    told = loaded.metadata(first, "forecasts/concert_scenarios")
    assert "with capacity 200: " in told["verdict"]
    assert (
        told["assumptions"] == "what was bought so far stays; another hall changes what can be sold, not what fans want"
    )
    assert all(check.passed for check in loaded.checks(first).values())

    assert [loaded.table(contract) for contract in contracts] == before
    assert {path: path.stat().st_mtime_ns for path in loaded.settings.exports_path.rglob("*.parquet")} == exports

    refused = suppose(loaded, "c13", price=60.0)
    assert "what-if of c13: price needs price_elasticity" in loaded.failure(refused)
    refused = suppose(loaded, "c13", capacity=1)
    assert "capacity 1: " in loaded.failure(refused)
    assert "tickets of c13 are sold already" in loaded.failure(refused)
    assert len(loaded.table(CONCERT_SCENARIOS)) == 2


def test_each_change_does_what_it_says(loaded: Pipeline) -> None:
    with DuckDBWarehouse(loaded.settings.warehouse_path).open(read_only=True) as session:
        inputs = read_inputs(session, LAST, "Asia/Seoul")

    def row(concert_id: str = "c13", mean_price: float | None = 50.0, **changes: Any) -> dict[str, Any]:
        return scenario_row(inputs, LAST, concert_id, read_request(changes), mean_price=mean_price)

    dearer = row(price=100.0, price_elasticity=-1.0)
    assert dearer["demand_factor"] == 0.5
    assert dearer["difference_p50"] < -10
    # Half as many gross tickets at twice the price.
    assert dearer["revenue_ahead"] == pytest.approx(dearer["unchanged_revenue_ahead"], rel=0.02)
    assert row(price=100.0, price_elasticity=0.0)["difference_p50"] == 0
    assert row(price=100.0, current_price=100.0, price_elasticity=-3.0)["difference_p50"] == 0

    limit = int(dearer["unchanged_final_p50"]) - 5
    small = row(capacity=limit)
    assert small["final_p50"] == limit
    assert small["sell_out_probability"] >= 0.5 > small["unchanged_sell_out_probability"]
    # A larger hall sells no more where nothing is sold out.
    assert abs(row(capacity=4000)["difference_p50"]) < 1e-6

    earlier = row(show_date=(dearer["unchanged_show_date"] - timedelta(days=30)).date())
    assert earlier["final_p50"] < earlier["unchanged_final_p50"]

    with pytest.raises(ImpossibleChangeError, match="c13 has been on sale since 2026-01-11"):
        row(on_sale_date=LAST + timedelta(days=3))
    with pytest.raises(ImpossibleChangeError, match="the as-of date 2026-01-25 is over already"):
        row(show_date=LAST)
    with pytest.raises(PriceUnknownError, match="give current_price"):
        row(mean_price=None, price=10.0, price_elasticity=-1.0)
