"""Waiting for a worker on a machine: until its last word, or until it is clear that none will come."""

import time
from dataclasses import dataclass

import dagster as dg
from google.api_core.exceptions import GoogleAPICallError
from requests import RequestException

from mmt_assets.gcp.compute_engine import ComputeEngine
from mmt_assets.gcp.compute_errors import ComputeError
from mmt_assets.gcp.machines import Machine
from mmt_assets.resources.compute import RetryableFailure, say_at_work
from mmt_assets.resources.storage_messages import StorageChannel, StorageMessageReader

_POLL_SECONDS = 1.0
# What a worker said last may be on its way that long after it has ended.
_DRAIN_SECONDS = 10.0
_KILLED, _TERMINATED = 137, 143
# Exit codes of the startup script and of the worker, by what they mean.
_MEANING = {
    70: "the machine was booted for a run that had ended on it already",
    71: "the source code could not be checked out",
    72: "the locked requirements could not be installed",
    74: "the worker did nothing for too long and was ended by the machine's watchdog",
    75: "the worker could not report to the bucket any more",
    124: "the worker took too long (MMT_WORKER_TIMEOUT_SECONDS, MMT_VM_MAX_SECONDS) and was ended by the machine",
    _KILLED: "the worker was killed (137): most likely it ran out of memory; a larger MMT_VM_MACHINE_TYPE helps",
}
# Where neither the input nor the code is to blame.
_WORTH_A_RETRY = frozenset({70, 71, 72, 75})


class MachineLostError(RetryableFailure):
    """The machine went away without an exit code: preempted, stopped by somebody, or a host's error."""


@dataclass(frozen=True)
class Limits:
    """How long to wait for what, in seconds.

    Attributes:
        boot: From the start of the machine to the worker's first word.
        silence: Between two signs of life afterwards.
        heartbeat: Between two heartbeats of the run.
    """

    boot: float
    silence: float
    heartbeat: float


class MachineWatch:
    """Watches one machine and its worker's messages."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        client: ComputeEngine,
        channel: StorageChannel,
        reader: StorageMessageReader,
        limits: Limits,
    ) -> None:
        """Nothing is asked yet.

        Args:
            context: The run's context.
            client: Client; it should not repeat a call for long, or heartbeats are late.
            channel: Where the run tells the worker that it is current.
            reader: Reader of the worker's messages.
            limits: How long to wait.
        """
        self._context = context
        self._client = client
        self._channel = channel
        self._reader = reader
        self._limits = limits
        self._run_id = context.run.run_id
        self._guest_session = ""
        self._trouble: str | None = None

    def wait(self, machine: Machine, guest_session: str) -> None:
        """Wait for the worker's last word.

        Args:
            machine: A machine that was started.
            guest_session: What its startup script calls this session.

        Raises:
            MachineLostError: It went away without an exit code.
            RetryableFailure: Something else that the input is not to blame for.
            dagster.Failure: The worker ended without its last word, or the run was ended from outside.
        """
        self._guest_session = guest_session
        started = beat = time.monotonic()
        while not self._reader.closed.wait(_POLL_SECONDS):
            now = time.monotonic()
            if now - beat >= self._limits.heartbeat:
                beat = now
                self._say_at_work(now - started)
            found, guest = self._look(machine)
            if (code := guest.get(f"exit-{self._guest_session}")) is not None:
                self._require_last_word(machine, int(code), guest)
                return
            if self._trouble is None and (found is None or not found.is_coming_or_up or found.run_id != self._run_id):
                self._require_last_word_of_lost(machine, found)
                return
            self._require_in_time(machine, now - started, guest)

    def _say_at_work(self, seconds: float) -> None:
        say_at_work(self._context, seconds)
        try:
            self._channel.say_at_work()
        except (GoogleAPICallError, RequestException) as error:
            # The worker writes nothing if this lasts for three heartbeats.
            self._context.log.warning(f"the worker cannot be told that its run is at work: {error}")

    def _look(self, machine: Machine) -> tuple[Machine | None, dict[str, str]]:
        """What the cloud says of the machine, and what the machine says; while it does not answer, what was known."""
        try:
            guest = self._client.guest_attributes(machine.zone, machine.name)
            found = self._client.find(machine.zone, machine.name)
        except ComputeError as error:
            if self._trouble is None:
                self._context.log.warning(f"the machine cannot be looked at, its worker may go on: {error}")
            self._trouble = str(error)
            return machine, {}
        self._trouble = None
        return found, guest

    def _require_last_word(self, machine: Machine, code: int, guest: dict[str, str]) -> None:
        """The script has ended: unless the worker's last word is on its way, that is a failure."""
        serial = self._client.serial_tail(machine.zone, machine.name)
        if self._reader.drain(_DRAIN_SECONDS):
            return
        phase = guest.get(f"phase-{self._guest_session}", "unknown")
        told = f"exit code {code} in phase '{phase}' on {machine.zone}/{machine.name}"
        if code == _TERMINATED or phase == "preempted":
            raise MachineLostError(f"the machine was told to stop while its worker was at work: {told}")
        if code == 0:
            raise RetryableFailure(f"the worker ended well but its report cannot be read: {self._reader.trouble}")
        meaning = _MEANING.get(code, "the worker ended without a report")
        kind = RetryableFailure if code in _WORTH_A_RETRY else dg.Failure
        raise kind(f"{meaning}: {told}", metadata=_serial(serial), allow_retries=code in _WORTH_A_RETRY)

    def _require_last_word_of_lost(self, machine: Machine, found: Machine | None) -> None:
        """The machine goes or is gone. What its worker said before that still counts."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        while found and not found.is_down and found.run_id == self._run_id and time.monotonic() < deadline:
            if self._reader.closed.wait(_POLL_SECONDS):
                return
            found, guest = self._look(machine)
            if (code := guest.get(f"exit-{self._guest_session}")) is not None:
                self._require_last_word(machine, int(code), guest)
                return
        if self._reader.drain(_DRAIN_SECONDS):
            return
        told = "is not there any more" if found is None else f"is {found.status} for run {found.run_id}"
        raise MachineLostError(
            f"{machine.zone}/{machine.name} {told}, without an exit code of its worker: "
            "preempted, stopped by somebody, or an error of its host"
        )

    def _require_in_time(self, machine: Machine, seconds: float, guest: dict[str, str]) -> None:
        reader, place = self._reader, f"{machine.zone}/{machine.name}"
        phase = guest.get(f"phase-{self._guest_session}", "none")
        if not reader.opened and seconds > self._limits.boot:
            reason = f"no word of a worker on {place} within {self._limits.boot:g} s (MMT_VM_BOOT_SECONDS)"
        elif reader.opened and reader.silent_seconds() > self._limits.silence:
            reason = f"the worker on {place} is silent for {self._limits.silence:g} s (MMT_VM_SILENCE_SECONDS)"
        else:
            return
        trouble = "".join(f"; {text}" for text in (reader.trouble, self._trouble) if text)
        raise RetryableFailure(
            f"{reason}; the startup script's last phase: {phase}{trouble}",
            metadata=_serial(self._client.serial_tail(machine.zone, machine.name)),
        )


def _serial(text: str) -> dict[str, dg.MetadataValue]:
    return {"serial_port": dg.MetadataValue.md(f"```\n{text or 'could not be read: see the logs'}\n```")}
