"""Says in the log how each day ended: the lines that alerts count."""

import logging

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from mmt_assets.assets.run_once import AS_OF_TAG

LOGGER = logging.getLogger("mmt_assets.daily")
_WILL_RETRY = "dagster/will_retry"


def day_outcome_sensors(daily_job: UnresolvedAssetJobDefinition) -> list[dg.SensorDefinition]:
    """`day_finished` when a day's run has succeeded, `day_failed` when it failed and is not tried again."""

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name="day_finished_sensor",
        monitored_jobs=[daily_job],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Logs event=day_finished, for the alert that no day finished.",
    )
    def finished(context: dg.RunStatusSensorContext) -> dg.SkipReason:
        return dg.SkipReason(_say(context.dagster_run, logging.INFO, "day_finished"))

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.FAILURE,
        name="day_failed_sensor",
        monitored_jobs=[daily_job],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Logs event=day_failed, for the alert of that name.",
    )
    def failed(context: dg.RunStatusSensorContext) -> dg.SkipReason:
        if context.dagster_run.tags.get(_WILL_RETRY) == "true":
            return dg.SkipReason("the run is tried again")
        return dg.SkipReason(_say(context.dagster_run, logging.ERROR, "day_failed"))

    return [finished, failed]


def _say(run: dg.DagsterRun, level: int, event: str) -> str:
    day = run.tags.get(AS_OF_TAG)
    if day is None:
        return "that run makes no day of today's"
    text = f"the forecasts as of {day}: {event.replace('_', ' ')}, run {run.run_id}"
    LOGGER.log(level, text, extra={"event": event, "run_id": run.run_id, "as_of_date": day})
    return text
