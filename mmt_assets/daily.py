"""Which run makes a business day: the one question that the schedule and a request message ask."""

from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg

from mmt_assets.assets.catalog import asset_key
from mmt_assets.assets.days import materialized_days, missing_days
from mmt_assets.assets.run_once import AS_OF_TAG, RERUN_TAG, limit_daily_pool, successful_run
from mmt_assets.contracts import (
    BOOKING_CURVES,
    CITY_DEMAND_FORECAST,
    CONCERT_OUTLOOK,
    CONCERT_PROPOSALS,
    CONCERTS,
    FEATURE_TABLES,
    MAKES,
    TICKET_ORDERS,
    TICKET_REFUNDS,
    TICKET_SALES,
)
from mmt_assets.job_names import DAILY_JOB
from mmt_assets.settings import Settings

# The day that a chunk of missing days leads up to.
CATCH_UP_TAG = "mmt/catch_up_to"
# Everything else has 0.
MORNING_PRIORITY = "10"
HISTORY = [asset_key(contract) for contract in (TICKET_ORDERS, TICKET_REFUNDS, MAKES, *FEATURE_TABLES)]
FORECASTS = [
    asset_key(contract)
    for contract in (TICKET_SALES, CONCERT_OUTLOOK, BOOKING_CURVES, CITY_DEMAND_FORECAST, CONCERT_PROPOSALS)
]
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def daily_run_request(
    instance: dg.DagsterInstance, settings: Settings, day: date, *, rerun: bool = False
) -> dg.RunRequest | dg.SkipReason:
    """The run that brings the forecasts up to `day`, or why there is none to make.

    One run covers the first missing day to `day`. Raw and features are missing on every day from the first partition
    on that one of them lacks; forecasts on the days after their latest one, and before the first forecast ever on
    `day` alone. Days of which only raw and features are missing, and more than MMT_MAX_CATCH_UP_DAYS of forecasts,
    come first, in runs of their own: ask again when such a run has succeeded (`catch_up_sensor` does).

    Args:
        instance: Dagster instance.
        settings: Settings.
        day: Last complete business day.
        rerun: Make the day again although it was made; a run that is under way still counts.
    """
    limit_daily_pool(instance)
    if day < settings.partitions_start():
        return dg.SkipReason(f"{day} lies before the first day {settings.partitions_start()}")
    text = day.isoformat()
    if under_way := _run_under_way(instance, text):
        return dg.SkipReason(f"run {under_way.run_id} for {text} is {under_way.status.value.lower()}")
    if not rerun and (made := successful_run(instance, text)):
        return dg.SkipReason(f"{text} was made by run {made.run_id}")
    history_first = min(missing_days(instance, HISTORY, settings.partitions_start(), day), default=None)
    forecast_first = _first_day_to_forecast(instance, day)
    if history_first and history_first < forecast_first:
        longest = history_first + timedelta(days=settings.max_partitions_per_run - 1)
        last = min(forecast_first - timedelta(days=1), longest)
        return _request(history_first, last, {CATCH_UP_TAG: text}, [asset_key(CONCERTS), *HISTORY])
    if forecast_first > day:
        return (
            _request(day, day, {AS_OF_TAG: text, RERUN_TAG: "true"})
            if rerun
            else dg.SkipReason(f"nothing is missing up to {text}")
        )
    last = min(day, forecast_first + timedelta(days=settings.max_catch_up_days - 1))
    tags = {AS_OF_TAG: text} if last == day else {CATCH_UP_TAG: text}
    return _request(forecast_first, last, tags | ({RERUN_TAG: "true"} if rerun else {}))


def _run_under_way(instance: dg.DagsterInstance, day: str) -> dg.DagsterRun | None:
    """A run of that day, or one that leads up to it, that is unfinished or about to be retried."""
    for tag in (AS_OF_TAG, CATCH_UP_TAG):
        for run in instance.get_runs(dg.RunsFilter(tags={tag: day})):
            will_retry = run.tags.get("dagster/will_retry") == "true" and run.remote_job_origin is not None
            if run.status in UNFINISHED or (will_retry and "dagster/auto_retry_run_id" not in run.tags):
                return run
    return None


def _first_day_to_forecast(instance: dg.DagsterInstance, day: date) -> date:
    """The day after the latest one that has all forecast tables; `day` before the first forecast ever."""
    complete = set[date].intersection(*(materialized_days(instance, asset) for asset in FORECASTS))
    return max(complete) + timedelta(days=1) if complete else day


def _request(
    first: date, last: date, tags: dict[str, str], assets: Sequence[dg.AssetKey] | None = None
) -> dg.RunRequest:
    days = {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }
    # In the queue it goes before chunks of a backfill, which hold the pool one after the other.
    days["dagster/priority"] = MORNING_PRIORITY
    # No run key: a day whose run failed for good must not be refused when it is asked for again.
    return dg.RunRequest(
        job_name=DAILY_JOB, tags=days | tags, asset_selection=list(assets) if assets is not None else None
    )
