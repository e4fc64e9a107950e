"""A machine for the length of one session: found in some zone, noted in the ledger, ended whatever happens."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
from dagster._utils.interrupts import capture_interrupts

from mmt_assets.gcp.compute_engine import ComputeEngine
from mmt_assets.gcp.compute_errors import CapacityError, ComputeError, QuotaError, VmBusyError
from mmt_assets.gcp.machines import Machine, MachineSpec, Provisioning, machine_name
from mmt_assets.resources.compute import RetryableFailure, say_at_work
from mmt_assets.resources.vm_sessions import VmSession
from mmt_assets.setting_groups.analysis_server import AnalysisServerSettings

# Zone and name of a machine.
Place = tuple[str, str]


def machine_spec(settings: AnalysisServerSettings, provisioning: Provisioning) -> MachineSpec:
    """What a machine is made from, by the settings."""
    is_ephemeral = settings.vm_lifecycle == "ephemeral"
    return MachineSpec(
        lifecycle=settings.vm_lifecycle,
        template=settings.template_path() if is_ephemeral else "",
        max_seconds=settings.vm_max_seconds,
        provisioning=provisioning,
        machine_type=settings.vm_machine_type,
        disk_gb=settings.vm_disk_gb,
        service_account=settings.vm_service_account,
        scopes=settings.vm_scopes,
        external_ip=settings.vm_external_ip,
    )


class MachineLease:
    """One session's machine.

    Attributes:
        machine: The machine, once there is one.
        guest_session: What its startup script calls this session: a machine may be started twice for one run.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        client: ComputeEngine,
        settings: AnalysisServerSettings,
        numbers: Iterator[int],
    ) -> None:
        """Nothing is started yet.

        Args:
            context: The run's context.
            client: Client.
            settings: Settings.
            numbers: Numbers of the run's machines, for their names.
        """
        self.machine: Machine | None = None
        self.guest_session = ""
        self._context = context
        self._client = client
        self._settings = settings
        self._numbers = numbers
        self._run_id = context.run.run_id
        # Every place where a machine may be, noted before it is asked for: an interrupt may come in between.
        self._asked_for: list[Place] = []
        self._sessions: dict[Place, VmSession] = {}

    def start(self, metadata: Mapping[str, str], *, allow_spot: bool) -> Machine:
        """Start a machine in the first zone that has one, Spot before on demand.

        Args:
            metadata: What the machine is to be told.
            allow_spot: Whether it may be a Spot machine.

        Raises:
            RetryableFailure: No zone has one, or the named machine is busy; all tries are told.
        """
        tries, began = list[str](), time.monotonic()
        kinds: tuple[Provisioning, ...] = ("spot", "on_demand") if allow_spot else ("on_demand",)
        for kind in kinds:
            without_quota = set[str]()
            for zone in self._zones():
                if _region(zone) in without_quota:
                    continue
                if tries:
                    # Minutes may have passed: a run without an event is taken for dead.
                    say_at_work(self._context, time.monotonic() - began)
                try:
                    self.machine = self._start_in(zone, kind, metadata)
                except QuotaError as error:
                    # Another zone of the region would say the same.
                    without_quota.add(_region(zone))
                    tries.append(f"{zone} ({kind}): {error}")
                except (CapacityError, ComputeError) as error:
                    self._context.log.warning(f"{zone} ({kind}): {error}")
                    tries.append(f"{zone} ({kind}): {error}")
                    self._require_not_there()
                else:
                    self._note_start(self.machine)
                    return self.machine
        raise RetryableFailure("no machine could be started. " + "; ".join(tries))

    def _zones(self) -> tuple[str, ...]:
        # A named machine lies in one zone.
        zones = self._settings.zones
        return zones if self._settings.vm_lifecycle == "ephemeral" else zones[:1]

    def _start_in(self, zone: str, kind: Provisioning, metadata: Mapping[str, str]) -> Machine:
        spec = machine_spec(self._settings, kind)
        number = next(self._numbers)
        self.guest_session = f"{self._run_id}-{number}"
        metadata = {**metadata, "dagster-session": self.guest_session}
        if spec.lifecycle == "ephemeral":
            name = machine_name(self._run_id, number)
            self._asked_for.append((zone, name))
            return self._client.create(zone, name, self._run_id, spec, metadata)
        name = self._settings.vm_name
        self._asked_for.append((zone, name))
        try:
            return self._client.claim_and_start(zone, name, self._run_id, spec, metadata, self._has_ended)
        except VmBusyError as error:
            raise RetryableFailure(f"VmBusy: {error}") from error

    def _has_ended(self, run_id: str) -> bool:
        run = self._context.instance.get_run_by_id(run_id)
        return run is None or run.is_finished

    def _note_start(self, machine: Machine) -> None:
        session = VmSession.of(machine, self._settings)
        self._sessions[machine.zone, machine.name] = session
        self._context.log_event(session.observation())

    def _require_not_there(self) -> None:
        """Two machines for one run would do its work twice: a try that may still come to life ends the run."""
        zone, name = self._asked_for[-1]
        try:
            self._client.release(zone, name, self._run_id)
            if self._client.wait_gone(zone, name, self._run_id, self._settings.vm_gone_seconds):
                return
            told = "is still listed"
        except ComputeError as error:
            told = str(error)
        raise RetryableFailure(f"{zone}/{name} may have been started and could not be ended: {told}")

    def end(self, *, wait: bool) -> None:
        """Have every machine that was asked for stopped or deleted; an interrupt waits until that is asked.

        Args:
            wait: Whether to wait until they are seen to be gone.
        """
        with capture_interrupts():
            asked = [place for place in self._asked_for if self._release(*place)]
        for zone, name in asked if wait else []:
            try:
                is_gone = self._client.wait_gone(zone, name, self._run_id, self._settings.vm_gone_seconds)
            except ComputeError as error:
                self._context.log.warning(f"whether {zone}/{name} is gone cannot be told: {error}")
                continue
            if is_gone:
                self._note_end((zone, name))
            else:
                self._context.log.warning(f"{zone}/{name} is still there after {self._settings.vm_gone_seconds:g} s")

    def _release(self, zone: str, name: str) -> bool:
        """Ask that one machine end; whether there is something to wait for."""
        try:
            if (zone, name) not in self._sessions:
                # An interrupt may have come before the answer to the start.
                found = self._client.find(zone, name)
                if found and found.run_id == self._run_id and found.is_coming_or_up:
                    self._note_start(found)
            released = self._client.release(zone, name, self._run_id)
        except ComputeError as error:
            self._context.log.error(f"{zone}/{name} could not be ended, vm_reaper_sensor will: {error}")  # noqa: TRY400
            return False
        if released == "gone":
            self._note_end((zone, name))
        elif released == "requested":
            self._context.log.info(f"{zone}/{name} is asked to end")
        return released == "requested"

    def _note_end(self, place: Place) -> None:
        session = self._sessions.get(place)
        if session is None or session.gone_at is not None:
            return
        self._sessions[place] = session.ended("run", datetime.now(UTC))
        self._context.log_event(self._sessions[place].observation())
        self._context.log.info(f"{'/'.join(place)} is gone")

    def metadata(self) -> dict[str, dg.MetadataValue]:
        """What the session was and cost, for the run's results. While the machine is not seen gone, until now."""
        if self.machine is None:
            return {}
        session = self._sessions[self.machine.zone, self.machine.name]
        if session.gone_at is None:
            session = replace(session, gone_at=datetime.now(UTC))
        told: dict[str, dg.MetadataValue] = {
            "machine": dg.MetadataValue.text(f"{session.zone}/{session.machine}"),
            "machine_type": dg.MetadataValue.text(session.machine_type),
            "provisioning": dg.MetadataValue.text(session.provisioning),
            "vm_billed_seconds": dg.MetadataValue.int(session.billed_seconds or 0),
        }
        if session.cost is not None:
            told |= {
                "vm_cost": dg.MetadataValue.float(session.cost),
                "vm_currency": dg.MetadataValue.text(session.currency),
            }
        return told


def _region(zone: str) -> str:
    return zone.rpartition("-")[0]
