"""The forecast assets end to end: real worker process, real DuckDB, in-memory Dagster instance."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from mmt_assets.board.changes import CAUSES
from mmt_assets.build import build_definitions
from mmt_assets.contracts import (
    BOOKING_CURVES,
    CITY_DEMAND_FORECAST,
    CONCERT_FORECAST,
    CONCERT_OUTLOOK,
    CONCERT_PROPOSALS,
    PUBLISHED_OUTLOOK,
    TICKET_SALES,
)
from mmt_assets.contracts.forecasts import PROVENANCE_COLUMNS
from mmt_assets.job_names import CONCERT_JOB
from mmt_assets_tests.small_world import DAY_TABLES, FIRST, LAST, known_by, world

DAY_CONTRACTS = (TICKET_SALES, CONCERT_OUTLOOK, BOOKING_CURVES, CITY_DEMAND_FORECAST, CONCERT_PROPOSALS)
# The fixtures' own types live in conftest.py, which tests do not import.
Pipeline = Any


def forecast_concert(pipeline: Pipeline, concert_id: str, as_of: date | None = None) -> dg.ExecuteInProcessResult:
    """Materialise one concert, as the UI does."""
    job = build_definitions(pipeline.settings).resolve_job_def(CONCERT_JOB)
    pipeline.instance.add_dynamic_partitions("concerts", [concert_id])
    config = {"ops": {"forecasts__concert_forecast": {"config": {"as_of_date": as_of.isoformat()}}}} if as_of else {}
    return job.execute_in_process(
        instance=pipeline.instance, partition_key=concert_id, run_config=config, raise_on_error=False
    )


def content(pipeline: Pipeline, day: date) -> dict[str, str]:
    """All rows of an as-of date as text, without provenance."""
    tables = {}
    for contract in DAY_CONTRACTS:
        rows = pipeline.query(f"SELECT * FROM {contract.table} WHERE as_of_date = @day", day=day)
        kept = rows.drop(columns=[*PROVENANCE_COLUMNS, "origin"])
        tables[contract.table] = kept.sort_values(list(contract.key)).to_csv(index=False)
    return tables


def test_an_old_as_of_date_gives_the_same_rows_after_newer_data_arrived(loaded: Pipeline) -> None:
    day = date(2026, 1, 20)
    loaded.load(day, assets=DAY_TABLES)
    before = content(loaded, day)
    assert before["forecasts.ticket_sales"].count("\n") > 30

    rows = world(loaded)
    rows["concerts"][13]["capacity"] = 999
    rows["concerts"][14]["show_at"] = "2026-04-01 10:00:00"
    rows["concerts"].append(loaded.concert("new", on_sale_at="2026-01-27 00:00:00"))
    rows["ticket_orders"].append(loaded.order("late", "2026-01-28 03:00:00", concert_id="new", quantity=50))
    rows["makes"].append(loaded.make("new-fan", "2026-01-27 03:00:00"))
    later = LAST + timedelta(days=5)
    loaded.set(last_day=later)
    loaded.put(**known_by(rows, later))
    loaded.load(LAST + timedelta(days=1), later)
    loaded.load(FIRST, LAST)
    loaded.load(day, assets=DAY_TABLES)

    assert content(loaded, day) == before
    loaded.load(later, assets=DAY_TABLES)
    newest = loaded.query("SELECT concert_id, capacity FROM forecasts.concert_outlook WHERE as_of_date = @d", d=later)
    assert dict(newest.itertuples(index=False))["c13"] == 999
    assert "new" in set(newest["concert_id"])


def test_the_daily_run_publishes_the_last_day_and_refreshes_every_active_concert(loaded: Pipeline) -> None:
    result = loaded.load(LAST, assets=DAY_TABLES)

    failed = [name for name, check in loaded.checks(result).items() if not check.passed]
    assert failed == []
    outlook = loaded.query("SELECT * FROM forecasts.concert_outlook")
    assert set(outlook["concert_id"]) == {"c12", "c13", "c14"}
    assert set(outlook["origin"]) == {"live"}
    assert set(outlook["run_id"]) == {result.run_id}
    assert loaded.table(PUBLISHED_OUTLOOK) == loaded.table(CONCERT_OUTLOOK)
    current = loaded.query("SELECT concert_id, MIN(sales_date) AS day FROM forecasts.concert_forecast GROUP BY 1")
    assert {str(day)[:10] for day in current["day"]} == {LAST.isoformat()}
    key = dg.AssetKey(["forecasts", "concert_forecast"])
    assert loaded.instance.get_materialized_partitions(key) == {"c12", "c13", "c14"}
    assert set(loaded.instance.get_dynamic_partitions("concerts")) == {"c12", "c13", "c14"}
    # Dagster draws them over time, for each concert and for all.
    medians = dict(loaded.rows("SELECT concert_id, final_p50 FROM forecasts.concert_outlook"))
    for event in result.get_asset_materialization_events():
        if event.asset_key == key:
            told = {name: value.value for name, value in event.materialization.metadata.items()}
            assert told["final_p50"] == medians[event.partition]
            assert "days to the show" in str(told["verdict"])
    totals = loaded.metadata(result, "forecasts/concert_outlook")
    assert totals["tickets_expected"] == pytest.approx(sum(medians.values()))
    assert sum(value for name, value in totals.items() if name.startswith("concerts_")) == 3


def test_the_daily_run_explains_what_changed_and_makes_the_board(loaded: Pipeline) -> None:
    before = LAST - timedelta(days=1)
    result = loaded.load(before, LAST, assets=[*DAY_TABLES, "forecasts/outlook_board"])
    changes = loaded.query("SELECT * FROM forecasts.outlook_changes").set_index("concert_id")
    assert set(changes.index) == {"c12", "c13", "c14"}
    assert set(changes["earlier_as_of_date"].astype(str).str[:10]) == {before.isoformat()}
    total = changes["final_p50"] - changes["earlier_p50"]
    assert changes[list(CAUSES)].sum(axis=1).to_numpy() == pytest.approx(total.to_numpy(), abs=1e-6)
    told = loaded.metadata(result, "forecasts/outlook_board")
    assert told["verdict"].startswith(f"3 concerts as of {LAST}: ")
    page = Path(loaded.settings.board_place).read_text(encoding="utf-8")
    assert f"changes since {before.day} Jan 2026" in page
    assert any(name in page for name in CAUSES.values())
    again = loaded.load(LAST, assets=DAY_TABLES)
    stored = loaded.query("SELECT * FROM forecasts.outlook_changes").set_index("concert_id")
    assert set(stored["run_id"]) == {again.run_id}
    # From the stored forecast of the day before, or from the one made in the same run: the same causes.
    assert stored[list(CAUSES)].to_numpy() == pytest.approx(changes.loc[stored.index, list(CAUSES)].to_numpy())


def test_a_concert_on_demand_begins_with_what_the_daily_run_learned(loaded: Pipeline) -> None:
    loaded.load(LAST, assets=DAY_TABLES)
    result = forecast_concert(loaded, "c13")
    told = [entry.message for entry in loaded.instance.all_logs(result.run_id)]
    assert any("learned before from the same inputs" in message for message in told)
    path = "SELECT sales_date, tickets_p10, tickets_p50, cumulative_tickets_p90 FROM {} {} ORDER BY 1"
    alone = loaded.rows(
        path.format("forecasts.concert_forecast", f"WHERE run_id = '{result.run_id}' AND sales_date > as_of_date")
    )
    assert alone
    assert alone == loaded.rows(path.format("forecasts.ticket_sales", "WHERE concert_id = 'c13'"))


def test_parquet_exports_hold_what_the_tables_hold(loaded: Pipeline) -> None:
    loaded.load(LAST, assets=DAY_TABLES)
    exports = loaded.settings.exports_path
    exported = pd.read_parquet(exports / "concert_outlook" / f"{LAST}.parquet")
    stored = loaded.query("SELECT * FROM forecasts.concert_outlook")
    figures = ["concert_id", "sold", "final_p10", "final_p50", "final_p90"]
    pd.testing.assert_frame_equal(exported[figures], stored[figures], check_dtype=False)
    assert len(pd.read_parquet(exports / "concert_forecast.parquet")) == len(loaded.table(CONCERT_FORECAST))
    assert not list(exports.rglob("*.tmp"))


def test_a_range_of_as_of_dates_is_one_run_and_leaves_the_current_forecasts_alone(loaded: Pipeline) -> None:
    loaded.load(LAST, assets=DAY_TABLES)
    current = loaded.table(CONCERT_FORECAST)
    loaded.load(LAST - timedelta(days=3), LAST - timedelta(days=1), assets=DAY_TABLES)

    origins = loaded.rows("SELECT DISTINCT as_of_date, origin FROM forecasts.concert_outlook ORDER BY 1")
    assert origins == [
        ("2026-01-22", "backfill"),
        ("2026-01-23", "backfill"),
        ("2026-01-24", "backfill"),
        ("2026-01-25", "live"),
    ]
    assert loaded.table(CONCERT_FORECAST) == current
    assert loaded.rows("SELECT DISTINCT as_of_date FROM forecasts.published_outlook") == [("2026-01-25",)]


def test_one_concert_on_demand_replaces_its_rows_alone_and_shows_verdict_and_plot(loaded: Pipeline) -> None:
    daily = loaded.load(LAST, assets=DAY_TABLES)
    result = forecast_concert(loaded, "c13")
    assert result.success, loaded.failure(result)

    runs = dict(loaded.rows("SELECT DISTINCT concert_id, run_id FROM forecasts.concert_forecast"))
    assert runs == {"c12": daily.run_id, "c13": result.run_id, "c14": daily.run_id}
    told = loaded.metadata(result, "forecasts/concert_forecast")
    assert "days to the show" in told["verdict"]
    assert "data:image/png;base64," in told["plot"]
    assert told["board"].endswith("/board/outlook.html#concert=c13")
    assert told["worker_seconds"] > told["fit_seconds"] > 0
    messages = [entry.user_message for entry in loaded.instance.all_logs(result.run_id)]
    assert any("1 of 1 concerts forecast" in message for message in messages)
    published = loaded.rows("SELECT COUNT(*) FROM forecasts.published_outlook WHERE concert_id = 'c13'")
    assert published == [(2,)]

    alone = loaded.query(
        "SELECT * FROM forecasts.concert_forecast WHERE concert_id = 'c13' AND sales_date > @d", d=LAST
    )
    together = loaded.query("SELECT * FROM forecasts.ticket_sales WHERE concert_id = 'c13'")
    figures = [name for name in alone if name.startswith(("tickets_", "cumulative_"))]
    pd.testing.assert_frame_equal(alone[figures], together[figures])


def test_an_older_as_of_date_never_replaces_a_newer_forecast_of_a_concert(loaded: Pipeline) -> None:
    assert forecast_concert(loaded, "c13").success
    before = loaded.table(CONCERT_FORECAST)
    refused = forecast_concert(loaded, "c13", LAST - timedelta(days=2))
    assert not refused.success
    assert "already has a newer forecast of c13" in loaded.failure(refused)
    assert loaded.table(CONCERT_FORECAST) == before


@pytest.mark.parametrize(
    ("concert_id", "as_of", "expected"),
    [
        ("c0", None, "c0 is completed as of 2026-01-25"),
        ("nobody", None, "nobody is not in raw/concerts"),
        ("c13", date(2026, 1, 27), "not materialised for 2026-01-26 to 2026-01-27"),
    ],
)
def test_what_cannot_be_forecast_is_refused_with_the_reason(
    loaded: Pipeline, concert_id: str, as_of: date | None, expected: str
) -> None:
    result = forecast_concert(loaded, concert_id, as_of)
    assert not result.success
    assert expected in loaded.failure(result)


def test_forecasts_refuse_to_run_over_a_gap_in_the_history_and_name_it(new_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = new_pipeline(first_day=FIRST, last_day=LAST)
    pipeline.load(FIRST, FIRST + timedelta(days=1))
    pipeline.load(FIRST + timedelta(days=4), FIRST + timedelta(days=5), assets=["raw/concerts", "raw/makes"])
    result = pipeline.load(FIRST + timedelta(days=5), assets=DAY_TABLES, fails=True)
    assert "not materialised for 2026-01-03 to 2026-01-06" in pipeline.failure(result)


def test_a_run_that_is_older_than_what_is_stored_is_skipped_per_concert(loaded: Pipeline) -> None:
    from mmt_assets.worker.job import DuckDBAddress, WorkerJob  # noqa: PLC0415 - only this test goes around Dagster
    from mmt_assets.worker.work import run_job  # noqa: PLC0415

    newer = forecast_concert(loaded, "c13")
    reports: list[dict[str, Any]] = []

    class RecordingPipes:
        """Stands for the run at the other end of Pipes."""

        log = dg.get_dagster_logger()

        def report_custom_message(self, payload: dict[str, Any]) -> None:
            reports.append(payload)

        def report_asset_materialization(self, **_: Any) -> None: ...

    job = WorkerJob(
        warehouse=DuckDBAddress(path=str(loaded.settings.warehouse_path), busy_timeout=10),
        timezone="Asia/Seoul",
        as_of_dates=(LAST,),
        live_date=LAST,
        run_id="older",
        run_created_at=datetime(2026, 1, 1, tzinfo=UTC),
        commit="none",
        lock_hash="none",
        exports=str(loaded.settings.exports_path),
    )
    run_job(job, RecordingPipes())  # type: ignore[arg-type]
    assert reports[-1]["skipped"] == ["c13"]
    assert reports[-1]["refreshed"] == ["c12", "c14"]
    runs = dict(loaded.rows("SELECT DISTINCT concert_id, run_id FROM forecasts.concert_forecast"))
    assert runs == {"c12": "older", "c13": newer.run_id, "c14": "older"}
