"""Ends the machines of a run that has failed or was terminated, seconds after it has."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from mmt_assets.resources.compute_engine import open_client
from mmt_assets.resources.machine_end import end_machine
from mmt_assets.sensors.vm_reaper import PATIENCE_SECONDS
from mmt_assets.settings import Settings

_ENDED_BADLY = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_INTERVAL_SECONDS = 5
# Runs that ended before the first tick ever.
_FIRST_LOOK_BACK = timedelta(hours=1)


def vm_release_sensor(settings: Settings) -> dg.SensorDefinition:
    """Looks for runs that failed or were terminated, and only then at the cloud."""

    @dg.sensor(
        name="vm_release_sensor",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends the analysis server of a run that has failed or was terminated.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        since = datetime.fromisoformat(context.cursor) if context.cursor else datetime.now(UTC) - _FIRST_LOOK_BACK
        wanted = dg.RunsFilter(statuses=_ENDED_BADLY, updated_after=since)
        records = context.instance.get_run_records(wanted, order_by="update_timestamp", ascending=True)
        if not records:
            return dg.SensorResult(skip_reason=dg.SkipReason("no run has failed"), cursor=since.isoformat())
        # An error here leaves the cursor: the same runs are looked at again.
        ended = release_machines_of(context.instance, settings, {record.dagster_run.run_id for record in records})
        for line in ended:
            context.log.warning(line)
        return dg.SensorResult(
            skip_reason=dg.SkipReason("; ".join(ended) or "the runs that have failed left no machine"),
            cursor=records[-1].update_timestamp.isoformat(),
        )

    return sensor


def release_machines_of(instance: dg.DagsterInstance, settings: Settings, run_ids: set[str]) -> list[str]:
    """End the machines of these runs; returns one line for each.

    Raises:
        ComputeError: The API did not answer.
    """
    client = open_client(settings, patience=PATIENCE_SECONDS)
    told = []
    for machine in client.list_ours().machines:
        if machine.run_id in run_ids and not machine.is_gone and machine.status != "STOPPING":
            released = end_machine(instance, client, settings, machine, "release_sensor")
            told.append(f"{machine.zone}/{machine.name} of run {machine.run_id}: {released}")
    return told
