"""The daily schedule."""

from datetime import UTC, datetime

import dagster as dg

from mmt_assets.daily import daily_run_request
from mmt_assets.jobs import DAILY_JOB
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
