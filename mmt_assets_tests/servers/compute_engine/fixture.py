"""Fixtures: the server as a process of its own, and a project in it for each test."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests

from mmt_assets_tests.servers.compute_engine import guest
from mmt_assets_tests.servers.compute_engine.faults import Call, Fault
from mmt_assets_tests.servers.compute_engine.image import ROOT, Image, build_image

STARTUP_SCRIPT = ROOT / "mmt_assets" / "gcp" / "startup.sh"
REGION = "europe-west1"
ZONES = ("europe-west1-b", "europe-west1-c", "europe-west1-d")
_START_SECONDS = 60.0
_projects = count(1)


class ComputeEngineServer:
    """A project of the server, as a test sees and disturbs it.

    Attributes:
        endpoint: What the client's `api_endpoint` must be.
        project: Project id.
        image: What its machines boot from.
        git_url: Repository that holds this checkout.
        git_ref: Its commit.
    """

    def __init__(self, endpoint: str, project: str, image: Image) -> None:
        self.endpoint = endpoint
        self.project = project
        self.image = image
        self.git_url = image.git_url
        self.git_ref = image.git_ref
        self._control("image", **image.files)

    def _control(self, action: str, **given: Any) -> Any:
        return post(f"{self.endpoint}/control/{self.project}/{action}", given)

    def add_template(
        self,
        name: str = "mmt-analysis",
        region: str | None = REGION,
        *,
        metadata: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        scheduling: dict[str, Any] | None = None,
    ) -> str:
        """Add an instance template, by default as infra/analysis_server.tf has it; returns its path.

        Args:
            name: Name.
            region: Region; None for a global one.
            metadata: Metadata instead of that with our startup script.
            labels: Labels instead of `role=analysis`.
            scheduling: Scheduling instead of the limited standard machine.
        """
        scope = f"regions/{region}" if region else "global"
        limited = {"automaticRestart": False, "onHostMaintenance": "TERMINATE", "instanceTerminationAction": "DELETE",
                   "maxRunDuration": {"seconds": "28800"}}  # fmt: skip
        values = default_metadata() if metadata is None else metadata
        properties = {
            "machineType": "e2-standard-8",
            "labels": {"role": "analysis"} if labels is None else labels,
            "metadata": {"items": [{"key": key, "value": value} for key, value in values.items()]},
            "scheduling": limited if scheduling is None else scheduling,
            "serviceAccounts": [{"email": f"mmt-analysis-server@{self.project}.iam.gserviceaccount.com",
                                 "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}],
        }  # fmt: skip
        base = f"{self.endpoint}/compute/v1/projects/{self.project}/{scope}/instanceTemplates"
        post(base, {"name": name, "properties": properties})
        return f"projects/{self.project}/{scope}/instanceTemplates/{name}"

    def add_instance(
        self,
        zone: str,
        name: str,
        *,
        labels: dict[str, str] | None = None,
        metadata: dict[str, str] | None = None,
        status: str = "TERMINATED",
        scheduling: dict[str, Any] | None = None,
    ) -> None:
        """Add a machine that somebody made by other means: a named analysis server, or another's property."""
        items = [{"key": key, "value": value} for key, value in (metadata or {}).items()]
        self._control("add_instance", zone=zone, name=name, status=status, labels=labels or {},
                      metadata={"items": items}, scheduling=scheduling or {})  # fmt: skip

    def inject(
        self,
        call: Call,
        fault: Fault,
        *,
        times: int | None = 1,
        zone: str | None = None,
        instance: str | None = None,
        seconds: float = 1.0,
        after: int = 0,
    ) -> None:
        """Make calls to come go wrong, see `faults.Injection`."""
        self._control("inject", call=call, fault=fault, times=times, zone=zone, instance=instance,
                      seconds=seconds, after=after)  # fmt: skip

    def clear_faults(self) -> None:
        self._control("clear_faults")

    def set_pace(self, **pace: float) -> None:
        """Change the cloud's pace, see `project.Pace`."""
        self._control("pace", **pace)

    def guest_environment(self, **variables: str) -> None:
        """Set variables for all processes of machines that boot from now on."""
        self._control("guest_environment", **variables)

    def put_on_disks(self, **files: str) -> None:
        """Add files or folders to the image, by their path below /opt/mmt_assets."""
        self._control("image", **files)

    def start(self, zone: str, name: str) -> None:
        """Start a machine by hand."""
        self._control("start", zone=zone, name=name)

    def stop(self, zone: str, name: str) -> None:
        """Stop a machine by hand."""
        self._control("stop", zone=zone, name=name)

    def preempt(self, zone: str, name: str) -> None:
        self._control("preempt", zone=zone, name=name)

    def reset(self, zone: str, name: str) -> None:
        """Pull a machine's plug and boot it again."""
        self._control("reset", zone=zone, name=name)

    def kill(self, zone: str, name: str, pattern: str = "mmt_assets.worker", number: int = 9) -> list[int]:
        """Signal the machine's processes whose command line holds the pattern; returns their ids."""
        return self._control("kill", zone=zone, name=name, pattern=pattern, number=number)

    def processes(self, zone: str, name: str) -> list[int]:
        """Ids of the machine's processes."""
        return self._control("processes", zone=zone, name=name)

    def serial(self, zone: str, name: str) -> str:
        """All that the serial port ever printed, whatever the machine's status."""
        return self._control("serial", zone=zone, name=name)

    def guest_attributes(self, zone: str, name: str) -> dict[str, str]:
        return self._control("guest_attributes", zone=zone, name=name)

    def home(self, zone: str, name: str) -> Path:
        """Folder that the machine has as /opt/mmt_assets."""
        return Path(self._control("home", zone=zone, name=name))

    def history(self, kind: str | None = None, since: int = 0) -> list[dict[str, Any]]:
        """What happened, see `history.History`; from a number on, or all."""
        return [event for event in self._control("history", since=since) if kind in (None, event["kind"])]

    def instances(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Resources by zone and name."""
        return {(found["zone"].rpartition("/")[2], found["name"]): found for found in self._control("instances")}

    def end(self) -> None:
        self._control("end")


def post(url: str, body: dict[str, Any]) -> Any:
    """POST JSON; an error's body becomes the test's failure."""
    response = requests.post(url, json=body, timeout=60)
    assert response.ok, f"{url}: {response.text}"
    return response.json()


def default_metadata() -> dict[str, str]:
    """Metadata of infra's template."""
    return {
        "enable-guest-attributes": "TRUE",
        "serial-port-logging-enable": "TRUE",
        "startup-script": STARTUP_SCRIPT.read_text(),
    }


@contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """The server in a process of its own; yields its address."""
    command = [sys.executable, "-m", "mmt_assets_tests.servers.compute_engine", "--port", "0", "--folder", str(folder)]
    log = (folder / "server.log").open("ab")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("Compute Engine"), (folder / "server.log").read_text()
            endpoint = line.rpartition(" ")[2].strip()
            marker = requests.get(f"{endpoint}/marker", timeout=_START_SECONDS).json()
            try:
                yield endpoint
            finally:
                # However the server itself may have ended.
                process.terminate()
                process.wait(_START_SECONDS)
                guest.end_all(marker)
        finally:
            process.kill()
            log.close()


@pytest.fixture(scope="session")
def analysis_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """This checkout and its environment, as a prebuilt image."""
    return build_image(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def compute_engine_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the session's server."""
    with running_server(tmp_path_factory.mktemp("compute-engine")) as endpoint:
        yield endpoint


@pytest.fixture
def compute_engine(compute_engine_process: str, analysis_image: Image) -> Iterator[ComputeEngineServer]:
    """A project of its own; its machines are gone afterwards."""
    server = ComputeEngineServer(compute_engine_process, f"mmt-test-{next(_projects)}", analysis_image)
    yield server
    server.end()
