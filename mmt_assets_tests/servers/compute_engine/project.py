"""One project: its machines, templates and operations, its faults, its pace and its history."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from mmt_assets_tests.servers.compute_engine import rules
from mmt_assets_tests.servers.compute_engine.agenda import Agenda
from mmt_assets_tests.servers.compute_engine.errors import ApiError, not_found
from mmt_assets_tests.servers.compute_engine.faults import HTTP_ERRORS, OPERATION_ERRORS, Faults, Injection, http_error
from mmt_assets_tests.servers.compute_engine.history import History
from mmt_assets_tests.servers.compute_engine.instance import BOOTING, Instance
from mmt_assets_tests.servers.compute_engine.operations import Operation

# What a change gives back: the function that makes it, given the fault that it meets, and when it is done.
Change = tuple[Callable[[Injection | None], None], Callable[[], bool]]
_NEVER = ("lost_operation", "stuck_operation")


@dataclass
class Pace:
    """How fast this cloud is; a real one takes minutes where a test has seconds.

    Attributes:
        boot_seconds: From the request to RUNNING.
        operation_seconds: Shortest time that an operation takes.
        stop_seconds: Shortest time from STOPPING to TERMINATED.
        grace_seconds: Longest time that a guest may take to end; a quarter of it on Spot.
        wait_seconds: Longest time that a `wait` call takes (two minutes in the real one).
        speed: How many seconds of `maxRunDuration` pass in one.
    """

    boot_seconds: float = 0.4
    operation_seconds: float = 0.1
    stop_seconds: float = 0.2
    grace_seconds: float = 4.0
    wait_seconds: float = 1.0
    speed: float = 1.0


class Project:
    """See the module.

    Attributes:
        name: Project id.
        base: Address of its resources.
        folder: Folder of its machines' disks.
        marker: Beginning of its machines' markers.
        instances: Machines by zone and name.
        templates: Template bodies by path below the project.
        guest_environment: Variables that the image of its machines sets.
        image: What stands on a new disk: files and folders by their path below the startup script's home.
    """

    def __init__(self, name: str, address: str, folder: Path, marker: str, agenda: Agenda) -> None:
        self.name = name
        self.base = f"{address}/compute/v1/projects/{name}"
        self.folder = folder / name
        self.marker = f"{marker}/{name}"
        self.agenda = agenda
        self.lock = agenda.lock
        self.history = History()
        self.faults = Faults(self.history)
        self.pace = Pace()
        self.guest_environment: dict[str, str] = {}
        self.image: dict[str, str] = {}
        self.instances: dict[tuple[str, str], Instance] = {}
        self.templates: dict[str, dict[str, Any]] = {}
        self.operations: dict[tuple[str, str], Operation] = {}
        self._by_request: dict[str, Operation] = {}
        self._numbers = count(1)

    def new_number(self) -> str:
        """An id: digits, as the API's uint64 are."""
        return str(time.time_ns() // 1000 * 1000 + next(self._numbers))

    def instance(self, zone: str, name: str) -> Instance:
        """A machine.

        Raises:
            ApiError: 404.
        """
        found = self.instances.get((zone, name))
        if found is None:
            raise not_found(f"projects/{self.name}/zones/{zone}/instances/{name}")
        return found

    def template(self, reference: str) -> dict[str, Any]:
        """A copy of an instance template, named by URL or by path.

        Raises:
            ApiError: 404.
        """
        path = reference.partition(f"projects/{self.name}/")[2] or reference
        found = self.templates.get(path)
        if found is None:
            raise not_found(f"projects/{self.name}/{path}")
        return copy.deepcopy(found)

    def insert(self, zone: str, body: dict[str, Any], template: str | None) -> Change:
        """A new machine, booted at once. What the body holds replaces the template's, key by key of the first level.

        Raises:
            ApiError: 400, 404 and 409 as the API has them.
        """
        properties = self.template(template)["properties"] if template else {}
        merged = {**properties, **{key: value for key, value in body.items() if value not in (None, {}, [], "")}}
        name = rules.check_name(merged.get("name"))
        if (zone, name) in self.instances:
            path = f"projects/{self.name}/zones/{zone}/instances/{name}"
            raise ApiError(409, f"The resource '{path}' already exists", "alreadyExists")
        rules.check_scheduling(merged.get("scheduling") or {})
        rules.check_labels(merged.get("labels") or {})
        rules.check_metadata((merged.get("metadata") or {}).get("items") or [])

        def apply(fault: Injection | None) -> None:
            instance = self.instances[(zone, name)] = Instance(self, zone, name, merged)
            instance.start(fault)

        return apply, lambda: not self._is_booting(zone, name)

    def start(self, zone: str, name: str) -> Change:
        """Boot a machine that is off."""
        instance = self.instance(zone, name)
        return instance.start, lambda: not self._is_booting(zone, name)

    def stop(self, zone: str, name: str) -> Change:
        """Stop a machine; one that is off stays as it is."""
        instance = self.instance(zone, name)

        def apply(_: Injection | None) -> None:
            if instance.status != "TERMINATED":
                instance.end("stop")

        return apply, lambda: instance.status in ("TERMINATED", None)

    def delete(self, zone: str, name: str) -> Change:
        """Stop a machine and remove it."""
        instance = self.instance(zone, name)
        return lambda _: instance.end("delete", go=True), lambda: instance.status is None

    def _is_booting(self, zone: str, name: str) -> bool:
        instance = self.instances.get((zone, name))
        return instance is not None and instance.status in BOOTING

    def change(
        self, call: str, zone: str, name: str, request_id: str | None, prepare: Callable[[], Change]
    ) -> Operation:
        """Make a change, or what the fault that waits for it makes of it.

        Args:
            call: API method.
            zone: Zone.
            name: Machine.
            request_id: A second call with the same one gets the first one's operation and changes nothing.
            prepare: Checks the request.

        Raises:
            ApiError: The request is refused, or a fault says so.
        """
        fault = self.faults.take(call, zone, name)
        kind = fault.fault if fault else None
        if fault and kind in HTTP_ERRORS:
            raise http_error(fault, name)
        key = rules.check_request_id(request_id) if request_id else None
        if key and key in self._by_request:
            return self._by_request[key]
        apply, is_done = prepare()
        operation = self._operation(f"zones/{zone}", call, f"zones/{zone}/instances/{name}")
        if kind in OPERATION_ERRORS:
            code, message = OPERATION_ERRORS[kind]
            operation.error = (code, message.format(zone=zone, region=zone.rpartition("-")[0]))
        else:
            if kind != "stuck_operation":
                apply(fault)
            operation.is_done = (lambda: False) if kind in _NEVER else is_done
        if (instance := self.instances.get((zone, name))) is not None:
            operation.target_id = instance.id
        if kind != "unknown_operation":
            self.operations[operation.scope, operation.name] = operation
        if key:
            self._by_request[key] = operation
        if kind == "late_unavailable":
            code, message, reason = HTTP_ERRORS["unavailable"]
            raise ApiError(code, message, reason)
        return operation

    def add_template(self, scope: str, body: dict[str, Any]) -> Operation:
        """Keep an instance template, global or of a region.

        Raises:
            ApiError: 409, there is one of that name.
        """
        path = f"{scope}/instanceTemplates/{rules.check_name(body.get('name'))}"
        if path in self.templates:
            raise ApiError(409, f"The resource 'projects/{self.name}/{path}' already exists", "alreadyExists")
        link = {"id": self.new_number(), "kind": "compute#instanceTemplate", "selfLink": f"{self.base}/{path}"}
        self.templates[path] = {"properties": {}, **body, **link}
        operation = self._operation(scope, "insert", path)
        self.operations[operation.scope, operation.name] = operation
        return operation

    def add_system_operation(self, kind: str, instance: Instance) -> None:
        """An operation that Compute Engine itself began, such as a preemption."""
        operation = self._operation(f"zones/{instance.zone}", kind, f"zones/{instance.zone}/instances/{instance.name}")
        operation.user, operation.target_id = "system", instance.id
        self.operations[operation.scope, operation.name] = operation

    def _operation(self, scope: str, kind: str, target: str) -> Operation:
        number = self.new_number()
        ready_at = time.monotonic() + self.pace.operation_seconds
        return Operation(number, scope, kind, self.base, target, number, ready_at)
