"""The analysis server's machines: made, started, watched and ended through Google's own client.

Whether a machine is there is told by asking for it, never by what an operation said. One that does not carry this
deployment's labels is never touched.
"""

import time
from collections.abc import Callable, Mapping
from typing import Literal

from google.api_core import exceptions as api
from google.cloud import compute_v1

from mmt_assets.gcp.compute_calls import ANSWERED, ComputeCalls, pauses
from mmt_assets.gcp.compute_errors import ComputeError, VmBusyError
from mmt_assets.gcp.instance_bodies import instance_body, machine, metadata_items, metadata_values, scheduling
from mmt_assets.gcp.machines import (
    DEPLOYMENT_LABEL,
    RUN_LABEL,
    Machine,
    MachineList,
    MachineSpec,
    own_labels,
    run_labels,
)

Released = Literal["requested", "gone", "not_ours"]
# A machine that still runs so long after it was told to end is told again.
_ASK_AGAIN_SECONDS = 5.0
_SERIAL_PATIENCE_SECONDS = 10.0


class ComputeEngine:
    """The machines of one project.

    Attributes:
        deployment: Whose machines: two Dagsters in one project leave each other's alone.
    """

    def __init__(
        self,
        project: str,
        *,
        deployment: str,
        endpoint: str | None = None,
        patience: float = 60.0,
        operation_seconds: float = 180.0,
    ) -> None:
        """Nothing is opened and nobody logs in until the first call.

        Args:
            project: Google Cloud project.
            deployment: Value of the label that says whose machines they are.
            endpoint: Address of a test server, with its scheme; None for Google's.
            patience: Seconds over which a call is repeated while the API does not answer.
            operation_seconds: Seconds that making, starting or labelling a machine may take.
        """
        self.deployment = deployment
        self._operation_seconds = operation_seconds
        self._calls = ComputeCalls(project, endpoint, patience, operation_seconds)

    @property
    def _instances(self) -> compute_v1.InstancesClient:
        return self._calls.instances

    def create(self, zone: str, name: str, run_id: str, spec: MachineSpec, metadata: Mapping[str, str]) -> Machine:
        """Make a machine from the template and start it.

        Args:
            zone: Zone.
            name: Name.
            run_id: Run that it works for.
            spec: What it is made from.
            metadata: Metadata beside the template's.

        Raises:
            CapacityError: The zone has none; nothing was made.
            QuotaError: The project may not have more.
            ComputeError: Anything else; it may exist all the same: release it.
        """
        what = f"creating {zone}/{name}"
        labels = run_labels(self.deployment, run_id, spec.lifecycle)
        template = self._calls.template(spec.template)
        body = instance_body(spec, template, zone=zone, name=name, labels=labels, metadata=metadata)
        request = {"source_instance_template": spec.template, "instance_resource": body}
        self._calls.change(what, self._instances.insert_unary, zone, name, request, _runs)
        return self._require(what, zone, name)

    def claim_and_start(
        self,
        zone: str,
        name: str,
        run_id: str,
        spec: MachineSpec,
        metadata: Mapping[str, str],
        may_replace: Callable[[str], bool],
    ) -> Machine:
        """Take the named machine for a run and start it; of two that try at once, one gets it.

        Args:
            zone: Zone.
            name: Name.
            run_id: Run that it works for.
            spec: How long it may live.
            metadata: Metadata beside its own.
            may_replace: Whether a run whose label is on the machine has ended.

        Raises:
            VmBusyError: It is another run's or not this deployment's, or another run took it at the same moment.
            CapacityError: The zone has no room to start it.
            ComputeError: It does not exist, or anything else.
        """
        what = f"starting {zone}/{name}"
        found = self._require(what, zone, name)
        self._refuse_others(found, run_id, may_replace)
        if not found.is_down:
            # Left over from a run that has ended.
            self.release(zone, name, found.run_id)
            if not self.wait_gone(zone, name, found.run_id, self._operation_seconds):
                raise VmBusyError(f"{what}: it is left over from run {found.run_id} and does not stop")
        self._claim(what, zone, name, run_id, metadata, may_replace)
        # Possible only while it is stopped, and needed before each start: a limit belongs to one session.
        limits = scheduling(spec)
        self._calls.change(
            what,
            self._instances.set_scheduling_unary,
            zone,
            name,
            {"instance": name, "scheduling_resource": limits},
            lambda instance: instance.scheduling.max_run_duration == limits.max_run_duration,
        )
        self._calls.change(what, self._instances.start_unary, zone, name, {"instance": name}, _runs)
        return self._require(what, zone, name)

    def _claim(
        self,
        what: str,
        zone: str,
        name: str,
        run_id: str,
        metadata: Mapping[str, str],
        may_replace: Callable[[str], bool],
    ) -> None:
        """Put the run's labels and metadata on the machine. The fingerprint is the lock: whoever is second gets 412."""
        fresh = self._calls.get(zone, name)
        self._refuse_others(machine(zone, fresh), run_id, may_replace)
        labels = {**fresh.labels, **run_labels(self.deployment, run_id, "named")}
        values = {**metadata_values(fresh.metadata), **metadata}
        resource = compute_v1.Metadata(items=metadata_items(values), fingerprint=fresh.metadata.fingerprint)
        try:
            self._calls.change(
                what,
                self._instances.set_labels_unary,
                zone,
                name,
                {
                    "instance": name,
                    "instances_set_labels_request_resource": {
                        "labels": labels,
                        "label_fingerprint": fresh.label_fingerprint,
                    },
                },
                lambda instance: dict(instance.labels) == labels,
            )
            self._calls.change(
                what,
                self._instances.set_metadata_unary,
                zone,
                name,
                {"instance": name, "metadata_resource": resource},
                lambda instance: metadata_values(instance.metadata) == values,
            )
        except api.PreconditionFailed as error:
            raise VmBusyError(f"{what}: another run took it at the same moment ({error.message})") from error

    def _refuse_others(self, found: Machine, run_id: str, may_replace: Callable[[str], bool]) -> None:
        """Raise VmBusyError unless the machine is this deployment's and free, or the run's already."""
        place = f"{found.zone}/{found.name}"
        # A named machine that was never used carries its role alone.
        labels = {**own_labels(self.deployment), **found.labels}
        if found.labels.get("role") != "analysis" or not own_labels(self.deployment).items() <= labels.items():
            raise VmBusyError(
                f"{place} is left alone: by its labels it is not an analysis server of {self.deployment} "
                f"(wanted role=analysis, and managed-by and {DEPLOYMENT_LABEL} absent or ours; found {found.labels})"
            )
        if not found.run_id and not found.is_down:
            raise VmBusyError(f"{place} is left alone: it is {found.status} without {RUN_LABEL}: started by hand?")
        if found.run_id not in ("", run_id) and not may_replace(found.run_id):
            raise VmBusyError(f"{place} is at work for run {found.run_id}")

    def release(self, zone: str, name: str, run_id: str) -> Released:
        """Ask that the machine be deleted (ephemeral) or stopped (named), if it still belongs to this run.

        Args:
            zone: Zone.
            name: Name.
            run_id: Run whose label must be on it.

        Returns:
            `requested`: the API took the request, `wait_gone` tells the rest; `gone`: it is not there, or stopped;
            `not_ours`: other labels are on it, nothing was done.

        Raises:
            ComputeError: The API did not take it over the whole patience.
        """
        found = self.find(zone, name)
        if found is None:
            return "gone"
        if not found.is_ours(self.deployment) or found.run_id != run_id:
            return "not_ours"
        if found.is_gone:
            return "gone"
        is_ephemeral = found.lifecycle == "ephemeral"
        end = self._instances.delete_unary if is_ephemeral else self._instances.stop_unary
        try:
            self._calls.send(
                f"{'deleting' if is_ephemeral else 'stopping'} {zone}/{name}", end, zone, {"instance": name}
            )
        except api.NotFound:
            return "gone"
        return "requested"

    def wait_gone(self, zone: str, name: str, run_id: str, seconds: float) -> bool:
        """Ask until the machine is not there (or stopped, a named one), or works for somebody else.

        A request that the API took and did not carry out is made again.

        Args:
            zone: Zone.
            name: Name.
            run_id: Run that it worked for.
            seconds: How long to ask.

        Returns:
            Whether it is gone; no operation's word counts.

        Raises:
            ComputeError: The API did not answer.
        """
        pause, asked = pauses(), time.monotonic()
        deadline = asked + seconds
        while (found := self.find(zone, name)) and found.run_id == run_id and not found.is_gone:
            if time.monotonic() > deadline:
                return False
            if found.is_coming_or_up and time.monotonic() - asked > _ASK_AGAIN_SECONDS:
                self.release(zone, name, run_id)
                asked = time.monotonic()
            pause()
        return True

    def find(self, zone: str, name: str) -> Machine | None:
        """What the cloud knows of a machine; None when there is none.

        Raises:
            ComputeError: The API did not answer.
        """
        try:
            return machine(zone, self._calls.get(zone, name))
        except api.NotFound:
            return None

    def list_ours(self) -> MachineList:
        """All machines with this deployment's labels, in all zones.

        Raises:
            ComputeError: The API did not answer.
        """
        condition = " AND ".join(f"labels.{key}={value}" for key, value in own_labels(self.deployment).items())

        def all_pages() -> MachineList:
            machines, unreachable = list[Machine](), list[str]()
            for scope, listed in self._calls.ask("listing", self._instances.aggregated_list, filter=condition):
                if listed.warning.code == "UNREACHABLE":
                    unreachable.append(scope.rpartition("/")[2])
                machines += [machine(scope, instance) for instance in listed.instances]
            # The filter is a saving; whose a machine is, is decided here.
            return MachineList(tuple(m for m in machines if m.is_ours(self.deployment)), tuple(unreachable))

        return self._calls.repeat("listing the machines", all_pages)

    def guest_attributes(self, zone: str, name: str) -> dict[str, str]:
        """What the startup script wrote in the namespace `dagster`; empty while there is nothing to read.

        Raises:
            ComputeError: The API did not answer.
        """
        get, what = self._instances.get_guest_attributes, f"reading what {zone}/{name} says"
        try:
            found = self._calls.ask(what, get, zone=zone, instance=name, query_path="dagster/")
        except ANSWERED:
            return {}
        return {item.key: item.value for item in found.query_value.items}

    def serial_tail(self, zone: str, name: str, characters: int = 4000) -> str:
        """The end of the serial console's output; empty once the machine is stopped: it cannot be read then."""
        get = self._instances.get_serial_port_output
        try:
            found = self._calls.ask(
                "reading the serial port", get, patience=_SERIAL_PATIENCE_SECONDS, zone=zone, instance=name
            )
        except (*ANSWERED, ComputeError):
            return ""
        return found.contents[-characters:]

    def _require(self, what: str, zone: str, name: str) -> Machine:
        found = self.find(zone, name)
        if found is None:
            raise ComputeError(f"{what}: there is no such machine")
        return found


def _runs(instance: compute_v1.Instance) -> bool:
    return instance.status == "RUNNING"
