"""The tests' own paths, `/control/PROJECT/...`: what a real cloud has no API for."""

import signal
from typing import Any

from mmt_assets_tests.servers.compute_engine import guest
from mmt_assets_tests.servers.compute_engine.errors import ApiError
from mmt_assets_tests.servers.compute_engine.faults import Injection
from mmt_assets_tests.servers.compute_engine.instance import Instance
from mmt_assets_tests.servers.compute_engine.project import Pace, Project


def control(project: Project, action: str, given: dict[str, Any]) -> Any:
    """Do what a test asks for.

    Args:
        project: Project.
        action: One of the names below.
        given: Its arguments.

    Raises:
        ApiError: There is no such action.
    """
    actions = {
        "history": lambda: project.history.events[given.get("since", 0) :],
        "instances": lambda: [instance.resource() for instance in project.instances.values()],
        "inject": lambda: project.faults.waiting.append(Injection(**given)),
        "clear_faults": project.faults.waiting.clear,
        "pace": lambda: setattr(project, "pace", Pace(**{**vars(project.pace), **given})),
        "guest_environment": lambda: project.guest_environment.update(given),
        "image": lambda: project.image.update(given),
        "add_instance": lambda: _add_instance(project, **given),
        "preempt": lambda: _preempt(_found(project, given)),
        "start": lambda: _found(project, given).start(),
        "stop": lambda: _found(project, given).end("stop"),
        "reset": lambda: _found(project, given).reset(),
        "processes": lambda: [process.pid for process in guest.processes(_found(project, given).marker)],
        "kill": lambda: guest.send_signal(
            _found(project, given).marker, given.get("number", signal.SIGKILL), given["pattern"]
        ),
        "serial": lambda: _found(project, given).disk.serial.read_text(errors="replace"),
        "guest_attributes": lambda: _found(project, given).guest_attributes,
        "home": lambda: str(_found(project, given).disk.home),
        "end": lambda: _end(project),
    }
    if action not in actions:
        raise ApiError(404, f"There is no control '{action}'; there are {', '.join(sorted(actions))}", "notFound")
    return actions[action]()


def _found(project: Project, given: dict[str, Any]) -> Instance:
    return project.instance(given["zone"], given["name"])


def _preempt(instance: Instance) -> None:
    if instance.scheduling["provisioningModel"] != "SPOT":
        raise ApiError(400, f"{instance.name} is not a Spot VM: Compute Engine never preempts it", "invalid")
    instance.preempt()


def _add_instance(project: Project, zone: str, name: str, status: str, **body: Any) -> None:
    """A machine that somebody made by other means, with this status at once."""
    instance = project.instances[zone, name] = Instance(project, zone, name, body)
    if status == "TERMINATED":
        instance.appear_off()
    else:
        instance.start()


def _end(project: Project) -> None:
    """End the project: its processes are killed and its machines gone, without a word in the history."""
    project.faults.waiting.clear()
    guest.end_all(project.marker)
    for instance in list(project.instances.values()):
        instance.vanish()
