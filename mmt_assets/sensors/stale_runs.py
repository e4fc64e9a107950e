"""Fails runs that died without a word, so that their pool is free and the daemon retries them."""

import math
from datetime import UTC, datetime, timedelta

import dagster as dg
import psutil
from dagster._core.events import DagsterEventType, JobFailureData, RunFailureReason

from mmt_assets.assets.run_once import limit_daily_pool
from mmt_assets.job_names import OUR_JOBS
from mmt_assets.settings import Settings

_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
# A process's start is known to the hundredth of a second; its first event comes later than that.
_CLOCK_SLACK_SECONDS = 1.0


def why_stale(instance: dg.DagsterInstance, run: dg.DagsterRun, settings: Settings, now: datetime) -> str | None:
    """Why a run at work must be dead, or None while it may live.

    Args:
        instance: Dagster instance.
        run: A run that is STARTING or STARTED.
        settings: Settings.
        now: The present instant (aware).
    """
    if settings.env == "local" and (gone := _gone_process(instance, run.run_id)):
        return gone
    [last] = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records or [None]
    if last is None:
        record = instance.get_run_record_by_id(run.run_id)
        since = record.create_timestamp if record else now
    else:
        since = datetime.fromtimestamp(last.event_log_entry.timestamp, UTC)
    limit = timedelta(seconds=settings.heartbeat_seconds * settings.stale_after_heartbeats)
    if now - since <= limit:
        return None
    return f"its last event is of {since:%Y-%m-%d %H:%M:%S} UTC, more than {limit.total_seconds():g} s ago"


def _gone_process(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """Tell that the run's process is gone, from the pid that Dagster notes when it starts and when steps start."""
    events = instance.get_records_for_run(run_id, of_type=DagsterEventType.ENGINE_EVENT, ascending=False).records
    for record in events:
        event = record.event_log_entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event else None
        if pid is None:
            continue
        told = f"its process {pid.value} is gone"
        try:
            process = psutil.Process(int(str(pid.value)))
            # A process that is younger than the event only has the number of the one that wrote it.
            is_other = process.create_time() > record.event_log_entry.timestamp + _CLOCK_SLACK_SECONDS
            return told if is_other or process.status() == psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return told
    return None


def fail_stale_runs(instance: dg.DagsterInstance, settings: Settings, now: datetime) -> list[str]:
    """Fail all dead runs of this project and free what they hold; returns one line for each.

    Args:
        instance: Dagster instance.
        settings: Settings.
        now: The present instant (aware).
    """
    failed = []
    for job in OUR_JOBS:
        for run in instance.get_runs(dg.RunsFilter(job_name=job, statuses=_AT_WORK)):
            reason = why_stale(instance, run, settings, now)
            current = instance.get_run_by_id(run.run_id)
            # It may have ended while it was looked at.
            if reason is None or current is None or current.is_finished:
                continue
            failed.append(f"{run.run_id} ({job}): {fail_dead_run(instance, current, reason)}")
    return failed


def fail_dead_run(instance: dg.DagsterInstance, run: dg.DagsterRun, reason: str) -> str:
    """Fail a run whose process is gone and free what it holds; returns what its log says."""
    message = f"The run is dead: {reason}."
    data = JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
    instance.report_run_failed(run, message, data)
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return message


def stale_run_sensor(settings: Settings) -> dg.SensorDefinition:
    """Looks twice a heartbeat, at least twice a minute, for runs whose process is gone or that are silent."""

    @dg.sensor(
        name="stale_run_sensor",
        minimum_interval_seconds=min(30, math.ceil(settings.heartbeat_seconds / 2)),
        default_status=dg.DefaultSensorStatus.RUNNING if settings.env == "local" else dg.DefaultSensorStatus.STOPPED,
        description="Fails runs that died without a word; the daemon retries them.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        # A new instance has no limit yet, and this sensor is the first thing of ours that a daemon runs.
        limit_daily_pool(context.instance)
        failed = fail_stale_runs(context.instance, settings, datetime.now(UTC))
        for line in failed:
            context.log.warning(line)
        return dg.SkipReason("failed " + "; ".join(failed) if failed else "no run is dead")

    return sensor
