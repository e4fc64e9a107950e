"""Ends machines whose run is over, unknown or dead: the layer that needs nobody else to be alive."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from mmt_assets.gcp.compute_errors import ComputeError
from mmt_assets.gcp.machines import Machine
from mmt_assets.resources.compute_engine import open_client
from mmt_assets.resources.machine_end import end_machine, note_gone, recent_sessions
from mmt_assets.sensors.stale_runs import fail_dead_run, fail_stale_runs, why_stale
from mmt_assets.settings import Settings

if TYPE_CHECKING:
    from mmt_assets.gcp.compute_engine import ComputeEngine

# A sensor has a minute for everything.
PATIENCE_SECONDS = 10.0


def reap(instance: dg.DagsterInstance, client: "ComputeEngine", settings: Settings, now: datetime) -> list[str]:
    """End every machine of this deployment without a living run; returns one line for each thing done.

    Args:
        instance: Dagster instance.
        client: Client.
        settings: Settings.
        now: The present instant (aware).

    Raises:
        ComputeError: The cloud's list cannot be had, or some machine could not be ended; the others were.
    """
    listed, told, problems = client.list_ours(), list[str](), list[str]()
    for machine in listed.machines:
        if machine.is_gone or machine.status == "STOPPING":
            continue
        reason = _why_without_run(instance, machine, settings, now)
        if reason is None:
            continue
        try:
            released = end_machine(instance, client, settings, machine, "reaper")
        except ComputeError as error:
            problems.append(str(error))
        else:
            told.append(f"{machine.zone}/{machine.name}: {reason}: {released}")
    sessions = recent_sessions(instance, settings).values()
    told += [
        f"{session.zone}/{session.machine} is gone"
        for session in note_gone(instance, client, sessions, listed, "reaper")
    ]
    if problems:
        raise ComputeError("; ".join([*problems, *told]))
    return told


def _why_without_run(instance: dg.DagsterInstance, machine: Machine, settings: Settings, now: datetime) -> str | None:
    """Why nobody needs the machine any more, or None while its run may live. A dead run is failed first."""
    run = instance.get_run_by_id(machine.run_id)
    if run is None:
        return f"nobody knows run {machine.run_id}"
    if run.is_finished:
        return f"run {run.run_id} is over ({run.status.value})"
    # Judged by the run's own events, never by the machine's name or age.
    reason = why_stale(instance, run, settings, now)
    current = instance.get_run_by_id(run.run_id)
    if reason is None or current is None or current.is_finished:
        # One that has ended while it was looked at is next time's.
        return None
    return fail_dead_run(instance, current, reason)


def vm_reaper_sensor(settings: Settings) -> dg.SensorDefinition:
    """Looks for machines without a living run."""

    @dg.sensor(
        name="vm_reaper_sensor",
        minimum_interval_seconds=settings.vm_reaper_seconds,
        # A safety net that somebody must switch on is none.
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends analysis servers whose run is over, unknown or silent; fails a run that is dead.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        # A run that died before it had a machine, or after it, is nobody's else to find.
        told = fail_stale_runs(context.instance, settings, datetime.now(UTC))
        client = open_client(settings, patience=PATIENCE_SECONDS)
        told += reap(context.instance, client, settings, datetime.now(UTC))
        for line in told:
            context.log.warning(line)
        return dg.SkipReason("; ".join(told) or "every machine has a living run")

    return sensor
