"""Which run makes a day: the first missing day on, once, whoever asks."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from mmt_assets.assets.catalog import asset_key
from mmt_assets.assets.run_once import AS_OF_TAG, DAILY_POOL, RERUN_TAG
from mmt_assets.contracts import (
    BOOKING_CURVES,
    CITY_DEMAND_FORECAST,
    CONCERT_OUTLOOK,
    CONCERT_PROPOSALS,
    FEATURE_TABLES,
    MAKES,
    TICKET_ORDERS,
    TICKET_REFUNDS,
    TICKET_SALES,
    TableContract,
)
from mmt_assets.daily import CATCH_UP_TAG, daily_run_request
from mmt_assets.job_names import DAILY_JOB
from mmt_assets.partitions import days_between
from mmt_assets.schedules import daily_forecast_schedule
from mmt_assets.settings import Settings

HISTORY = (TICKET_ORDERS, TICKET_REFUNDS, MAKES, *FEATURE_TABLES)
FORECASTS = (TICKET_SALES, CONCERT_OUTLOOK, BOOKING_CURVES, CITY_DEMAND_FORECAST, CONCERT_PROPOSALS)
FIRST, TODAY = date(2026, 1, 1), date(2026, 1, 10)
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@pytest.fixture
def instance() -> Iterable[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def stored_instance(tmp_path: Path) -> Iterable[dg.DagsterInstance]:
    """On disk: a schedule's context opens the instance by its address."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


def settings(**values: Any) -> Settings:
    return Settings.model_validate({"first_day": FIRST, **values})


def materialize(instance: dg.DagsterInstance, tables: Iterable[TableContract], first: date, last: date) -> None:
    for table in tables:
        for day in days_between(first, last):
            instance.report_runless_asset_event(dg.AssetMaterialization(asset_key(table), partition=day.isoformat()))


def add_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, day: date = TODAY, tag: str = AS_OF_TAG) -> str:
    run = instance.create_run(
        job_name=DAILY_JOB,
        run_id=None,
        run_config={},
        status=status,
        tags={tag: day.isoformat()},
        root_run_id=None,
        parent_run_id=None,
        step_keys_to_execute=None,
        execution_plan_snapshot=None,
        job_snapshot=None,
        parent_job_snapshot=None,
        asset_selection=None,
        asset_check_selection=None,
        resolved_op_selection=None,
        op_selection=None,
        remote_job_origin=None,
        job_code_origin=None,
        asset_graph=None,  # type: ignore[arg-type]
    )
    return run.run_id


def requested(answer: dg.RunRequest | dg.SkipReason) -> tuple[str, str, str | None, str | None]:
    assert isinstance(answer, dg.RunRequest), answer
    assert answer.job_name == DAILY_JOB
    return answer.tags[START], answer.tags[END], answer.tags.get(AS_OF_TAG), answer.tags.get(CATCH_UP_TAG)


def selected(answer: dg.RunRequest | dg.SkipReason) -> list[dg.AssetKey]:
    """Part of the job that is asked for; empty for all of it."""
    assert isinstance(answer, dg.RunRequest), answer
    return list(answer.asset_selection or [])


def reason(answer: dg.RunRequest | dg.SkipReason) -> str:
    assert isinstance(answer, dg.SkipReason), answer
    return str(answer.skip_message)


@pytest.mark.parametrize("missing", [1, 3])
def test_one_run_covers_the_days_missed_up_to_the_last_complete_one(instance: Any, missing: int) -> None:
    last = TODAY - timedelta(days=missing)
    materialize(instance, [*HISTORY, *FORECASTS], FIRST, last)
    answer = daily_run_request(instance, settings(), TODAY)
    assert requested(answer) == (str(last + timedelta(days=1)), str(TODAY), str(TODAY), None)
    assert selected(answer) == []


def test_nothing_is_asked_for_when_nothing_is_missing(instance: Any) -> None:
    materialize(instance, [*HISTORY, *FORECASTS], FIRST, TODAY)
    assert reason(daily_run_request(instance, settings(), TODAY)) == "nothing is missing up to 2026-01-10"


def test_before_the_first_forecast_ever_the_history_comes_first_and_only_the_day_is_forecast(instance: Any) -> None:
    answer = daily_run_request(instance, settings(), TODAY)
    assert requested(answer) == ("2026-01-01", "2026-01-09", None, "2026-01-10")
    assert {key.path[0] for key in selected(answer)} == {"raw", "features"}
    materialize(instance, HISTORY, FIRST, TODAY - timedelta(days=1))
    answer = daily_run_request(instance, settings(), TODAY)
    assert requested(answer) == ("2026-01-10", "2026-01-10", "2026-01-10", None)
    assert selected(answer) == []


def test_in_the_queue_the_morning_goes_before_chunks_of_a_backfill(instance: Any) -> None:
    answers = [daily_run_request(instance, settings(), TODAY)]
    materialize(instance, [*HISTORY, *FORECASTS], FIRST, TODAY - timedelta(days=1))
    answers.append(daily_run_request(instance, settings(), TODAY))
    for answer in answers:
        assert isinstance(answer, dg.RunRequest)
        # A backfill's runs have none, which is 0.
        assert int(answer.tags["dagster/priority"]) > 0


@pytest.mark.parametrize("table", HISTORY)
def test_a_hole_in_any_table_of_the_history_is_filled_before_the_day(instance: Any, table: TableContract) -> None:
    materialize(instance, [t for t in (*HISTORY, *FORECASTS) if t != table], FIRST, TODAY - timedelta(days=1))
    materialize(instance, [table], FIRST, date(2026, 1, 4))
    answer = daily_run_request(instance, settings(), TODAY)
    assert requested(answer) == ("2026-01-05", "2026-01-09", None, "2026-01-10")


def test_forecasts_begin_after_the_latest_day_that_has_all_of_them(instance: Any) -> None:
    materialize(instance, HISTORY, FIRST, TODAY)
    materialize(instance, FORECASTS, date(2026, 1, 3), date(2026, 1, 6))
    materialize(instance, FORECASTS[:2], date(2026, 1, 7), date(2026, 1, 8))
    assert requested(daily_run_request(instance, settings(), TODAY))[:2] == ("2026-01-07", "2026-01-10")


def test_a_gap_that_is_too_long_for_one_run_is_made_oldest_first(instance: Any) -> None:
    materialize(instance, [*HISTORY, *FORECASTS], FIRST, date(2026, 1, 2))
    short = settings(max_catch_up_days=3)
    for first, last, as_of, leads_to in (
        ("2026-01-03", "2026-01-05", None, "2026-01-10"),
        ("2026-01-06", "2026-01-08", None, "2026-01-10"),
        ("2026-01-09", "2026-01-10", "2026-01-10", None),
    ):
        assert requested(daily_run_request(instance, short, TODAY)) == (first, last, as_of, leads_to)
        materialize(instance, [*HISTORY, *FORECASTS], date.fromisoformat(first), date.fromisoformat(last))


@pytest.mark.parametrize("tag", [AS_OF_TAG, CATCH_UP_TAG])
@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_a_day_that_is_under_way_is_not_asked_for_again(instance: Any, status: Any, tag: str) -> None:
    run_id = add_run(instance, status, tag=tag)
    for rerun in (False, True):
        told = reason(daily_run_request(instance, settings(), TODAY, rerun=rerun))
        assert told == f"run {run_id} for 2026-01-10 is {status.value.lower()}"


def test_a_day_that_was_made_is_made_again_only_on_purpose(instance: Any) -> None:
    materialize(instance, [*HISTORY, *FORECASTS], FIRST, TODAY)
    run_id = add_run(instance, dg.DagsterRunStatus.SUCCESS)
    assert reason(daily_run_request(instance, settings(), TODAY)) == f"2026-01-10 was made by run {run_id}"
    answer = daily_run_request(instance, settings(), TODAY, rerun=True)
    assert requested(answer) == ("2026-01-10", "2026-01-10", "2026-01-10", None)
    assert isinstance(answer, dg.RunRequest)
    assert RERUN_TAG in answer.tags


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
def test_a_day_whose_run_failed_for_good_can_be_asked_for_again(instance: Any, status: Any) -> None:
    materialize(instance, [*HISTORY, *FORECASTS], FIRST, TODAY - timedelta(days=1))
    add_run(instance, status)
    assert requested(daily_run_request(instance, settings(), TODAY))[2] == "2026-01-10"


def test_a_day_before_the_first_one_is_refused(instance: Any) -> None:
    assert "before the first day" in reason(daily_run_request(instance, settings(), date(2025, 12, 31)))


def test_asking_sets_the_pool_limit_before_the_first_run_exists(instance: Any) -> None:
    daily_run_request(instance, settings(), TODAY)
    assert [(pool.name, pool.limit) for pool in instance.event_log_storage.get_pool_limits()] == [(DAILY_POOL, 1)]


@pytest.mark.parametrize(
    ("timezone", "now", "day"),
    [
        # 06:00 in Seoul is 21:00 UTC of the day before.
        ("Asia/Seoul", "2026-01-09T21:00:00+00:00", "2026-01-09"),
        ("Asia/Seoul", "2026-01-09T14:59:59+00:00", "2026-01-08"),
        ("Asia/Seoul", "2026-01-09T15:00:00+00:00", "2026-01-09"),
        # New York: 8 March 2026 has 23 hours, 1 November has 25.
        ("America/New_York", "2026-03-09T03:59:59+00:00", "2026-03-07"),
        ("America/New_York", "2026-03-09T04:00:00+00:00", "2026-03-08"),
        ("America/New_York", "2026-11-02T04:59:59+00:00", "2026-10-31"),
        ("America/New_York", "2026-11-02T05:00:00+00:00", "2026-11-01"),
    ],
)
def test_the_schedule_asks_for_the_day_that_is_complete_in_the_business_time_zone(
    stored_instance: Any, timezone: str, now: str, day: str
) -> None:
    last = date.fromisoformat(day)
    given = settings(timezone=timezone, first_day=last)
    materialize(stored_instance, HISTORY, last, last)
    context = dg.build_schedule_context(instance=stored_instance, scheduled_execution_time=datetime.fromisoformat(now))
    [answer] = daily_forecast_schedule(given).evaluate_tick(context).run_requests or []
    assert requested(answer) == (day, day, day, None)


@pytest.mark.parametrize(
    ("timezone", "after", "utc"),
    [
        ("Asia/Seoul", "2026-01-09T12:00:00+00:00", "2026-01-09T21:00:00"),
        ("America/New_York", "2026-03-07T12:00:00+00:00", "2026-03-08T10:00:00"),
        ("America/New_York", "2026-10-31T12:00:00+00:00", "2026-11-01T11:00:00"),
    ],
)
def test_the_schedule_keeps_its_time_of_day_over_clock_changes(timezone: str, after: str, utc: str) -> None:
    from dagster._utils.schedules import schedule_execution_time_iterator  # noqa: PLC0415 - Dagster's own clock

    schedule = daily_forecast_schedule(settings(timezone=timezone))
    start = datetime.fromisoformat(after).timestamp()
    tick = next(schedule_execution_time_iterator(start, str(schedule.cron_schedule), timezone, True))
    assert tick.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") == utc
    assert tick.astimezone(ZoneInfo(timezone)).hour == 6


def test_the_schedule_says_why_it_skips(stored_instance: Any) -> None:
    materialize(stored_instance, [*HISTORY, *FORECASTS], TODAY, TODAY)
    context = dg.build_schedule_context(
        instance=stored_instance, scheduled_execution_time=datetime(2026, 1, 10, 21, tzinfo=UTC)
    )
    assert "nothing is missing" in str(
        daily_forecast_schedule(settings(first_day=TODAY)).evaluate_tick(context).skip_message
    )


def test_a_second_run_of_a_day_that_was_made_ends_without_work_and_says_so(pipeline: Any) -> None:
    tags = {START: "2026-01-01", END: "2026-01-02", AS_OF_TAG: "2026-01-02"}
    assets = [dg.AssetKey(["raw", "concerts"]), dg.AssetKey(["raw", "makes"])]

    def run(**extra: str) -> dg.ExecuteInProcessResult:
        return pipeline.job().execute_in_process(
            instance=pipeline.instance,
            asset_selection=assets,
            tags={**tags, **extra},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )

    def status(result: dg.ExecuteInProcessResult) -> dg.DagsterRunStatus:
        return pipeline.instance.get_run_by_id(result.run_id).status

    first = run()
    assert status(first) == dg.DagsterRunStatus.SUCCESS
    second = run()
    assert status(second) == dg.DagsterRunStatus.CANCELED
    assert not second.get_asset_materialization_events()
    messages = [entry.user_message for entry in pipeline.instance.all_logs(second.run_id)]
    assert any(f"2026-01-02 was made by run {first.run_id}" in message for message in messages)
    again = run(**{RERUN_TAG: "true"})
    assert status(again) == dg.DagsterRunStatus.SUCCESS
