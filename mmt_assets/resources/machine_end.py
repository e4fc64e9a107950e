"""Ending machines whose run cannot, and noting that machines are gone: what sensors and the ledger share."""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from mmt_assets.gcp.machines import Machine, MachineList
from mmt_assets.resources.vm_sessions import EndedBy, VmSession, note, noted_sessions
from mmt_assets.setting_groups.analysis_server import AnalysisServerSettings

if TYPE_CHECKING:
    from mmt_assets.gcp.compute_engine import ComputeEngine, Released

# Lines of this logger carry their meaning in `event`, which the alerts count.
LOGGER = logging.getLogger("mmt_assets.analysis_server")
# Sessions older than the longest life of a machine and this are over, whatever is noted of them.
_SLACK = timedelta(days=1)


def has_ended(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run is over; one that nobody knows is."""
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished


def end_machine(
    instance: dg.DagsterInstance,
    client: "ComputeEngine",
    settings: AnalysisServerSettings,
    machine: Machine,
    by: EndedBy,
) -> "Released":
    """Have a machine stopped or deleted whose run has ended; its session is noted where the run could not.

    Args:
        instance: Dagster instance.
        client: Client.
        settings: Settings.
        machine: The machine, as it was just told of.
        by: Who ends it.

    Raises:
        ComputeError: The API did not take it.
    """
    session = VmSession.of(machine, settings)
    if session.session_id not in recent_sessions(instance, settings):
        note(instance, session)
    released = client.release(machine.zone, machine.name, machine.run_id)
    if released == "gone":
        note(instance, session.ended(by, datetime.now(UTC)))
    elif released == "requested":
        LOGGER.warning(
            f"{machine.zone}/{machine.name} of run {machine.run_id} was ended by {by}",
            extra={"event": "vm_reaped", "run_id": machine.run_id, "machine": machine.name, "zone": machine.zone},
        )
    return released


def recent_sessions(instance: dg.DagsterInstance, settings: AnalysisServerSettings) -> dict[str, VmSession]:
    """Noted sessions whose machine may still be there, by id."""
    since = datetime.now(UTC) - timedelta(seconds=settings.vm_max_seconds) - _SLACK
    return noted_sessions(instance, since.timestamp())


def note_gone(
    instance: dg.DagsterInstance,
    client: "ComputeEngine",
    sessions: Iterable[VmSession],
    listed: MachineList,
    by: EndedBy,
) -> list[VmSession]:
    """Note the end of sessions whose run has ended and whose machine is gone, each asked for once more.

    Args:
        instance: Dagster instance.
        client: Client.
        sessions: Noted sessions.
        listed: What the cloud lists.
        by: Who saw it.

    Returns:
        The sessions that were found to be over.

    Raises:
        ComputeError: The API did not answer.
    """
    up = {(machine.zone, machine.name, machine.started_at) for machine in listed.machines if not machine.is_gone}
    found = []
    for session in sessions:
        is_over = (
            session.gone_at is None
            and session.zone not in listed.unreachable
            and (session.zone, session.machine, session.started_at) not in up
            # A run that lives sees to its machine, and notes its end, itself.
            and has_ended(instance, session.run_id)
        )
        if is_over and _is_gone(client, session):
            found.append(session.ended(by, datetime.now(UTC)))
            note(instance, found[-1])
    return found


def _is_gone(client: "ComputeEngine", session: VmSession) -> bool:
    """Whether this very session's machine is not there any more; a list alone is not believed."""
    machine = client.find(session.zone, session.machine)
    return machine is None or machine.is_gone or machine.started_at != session.started_at
