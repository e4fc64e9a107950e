"""Goes on after a chunk of missing days."""

from datetime import date

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from mmt_assets.daily import CATCH_UP_TAG, daily_run_request
from mmt_assets.settings import Settings


def catch_up_sensor(settings: Settings, daily_job: UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """When a run that leads up to a day has succeeded, asks for the next one up to that day."""

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name="catch_up_sensor",
        monitored_jobs=[daily_job],
        request_job=daily_job,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.env == "local" else dg.DefaultSensorStatus.STOPPED,
        description="After a long gap: asks for the next chunk of missing days when one has succeeded.",
    )
    def sensor(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
        day = context.dagster_run.tags.get(CATCH_UP_TAG)
        if day is None:
            return dg.SkipReason("that run leads up to no other day")
        return daily_run_request(context.instance, settings, date.fromisoformat(day))

    return sensor
