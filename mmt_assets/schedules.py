"""Schedules: the day's forecasts, and the ledger of analysis servers."""

from datetime import UTC, datetime

import dagster as dg

from mmt_assets.daily import daily_run_request
from mmt_assets.job_names import DAILY_JOB, LEDGER_JOB, RETENTION_JOB
from mmt_assets.resources.vm_sessions import LEDGER_KEY
from mmt_assets.settings import Settings


def daily_forecast_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Once a day, at the time of MMT_DAILY_AT in the business time zone, for the last complete day."""
    hour, minute = settings.daily_at.split(":")

    @dg.schedule(
        name="daily_forecast_schedule",
        job_name=DAILY_JOB,
        cron_schedule=f"{int(minute)} {int(hour)} * * *",
        execution_timezone=settings.timezone,
        default_status=(
            dg.DefaultScheduleStatus.RUNNING if settings.env == "local" else dg.DefaultScheduleStatus.STOPPED
        ),
        description="The day's forecasts, for the last complete business day and the days missing before it.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        day = settings.last_complete_day(context.scheduled_execution_time or datetime.now(UTC))
        return daily_run_request(context.instance, settings, day)

    return schedule


def retention_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Once a night, before anybody's morning."""
    return dg.ScheduleDefinition(
        name="retention_schedule",
        job_name=RETENTION_JOB,
        cron_schedule="45 3 * * *",
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Forgets the logs of runs that ended more than MMT_KEEP_RUNS_DAYS ago.",
    )


def vm_ledger_schedule() -> dg.ScheduleDefinition:
    """Once an hour, when a machine has come or gone since the last time."""

    @dg.schedule(
        name="vm_ledger_schedule",
        job_name=LEDGER_JOB,
        cron_schedule="17 * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="The ledger of analysis servers, when one has come or gone.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        made = context.instance.get_latest_materialization_event(LEDGER_KEY)
        since = made.timestamp if made else 0.0
        wanted = dg.AssetRecordsFilter(LEDGER_KEY, after_timestamp=since)
        if not context.instance.fetch_observations(wanted, limit=1).records:
            return dg.SkipReason("no machine has come or gone")
        return dg.RunRequest()

    return schedule
