"""The analysis server's startup script, whole, on machines of the tests' Compute Engine."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmt_assets.gcp.pubsub import PubSub
from mmt_assets_tests.servers.compute_engine.fixture import STARTUP_SCRIPT, ComputeEngineServer, default_metadata
from mmt_assets_tests.servers.compute_engine.image import ROOT, Image, new_repository
from mmt_assets_tests.servers.dagster_deployment import wait_until
from mmt_assets_tests.servers.pubsub import PubSubEmulator

ZONE = "europe-west1-b"
RUN = "0b0d3c52-5b52-4f2e-a1f7-3a8a2c6d4e5f"
SPOT = {"provisioningModel": "SPOT", "instanceTerminationAction": "STOP"}
LOCK, OTHER_LOCK = "# nothing\n", "no-such-package==1.0 --hash=sha256:" + "0" * 64 + "\n"
PROGRAMS = {
    "succeeds": """
        import json, os, sys
        print("context", os.environ["DAGSTER_PIPES_CONTEXT"], "of", sys.prefix)
        print(json.dumps({"severity": "NOTICE", "message": "my own line"}))
        print('a "quoted" \\\\ line', file=sys.stderr)
    """,
    "crashes": "raise RuntimeError('no rows')",
    "runs_out_of_memory": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "leaves_a_child": "import subprocess; subprocess.Popen(['sleep', '1000'])",
    "is_slow": "while True: pass",
    "ignores_the_end": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
    "does_nothing": "import time; time.sleep(1000)",
    # As when a machine goes down and the worker gets its signal first.
    "is_ended": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "works_long": "import time\nprint('at work')\nwhile True: time.sleep(0.01); sum(range(20_000))",
}


@dataclass
class Case:
    """How a machine is started."""

    module: str = "succeeds"
    attributes: dict[str, str] = field(default_factory=dict)
    scheduling: dict[str, Any] = field(default_factory=dict)


class Site:
    """A project whose machines check out a repository of small programs."""

    def __init__(self, server: ComputeEngineServer, folder: Path) -> None:
        self.server = server
        self.repository = new_repository(folder / "repository.git")
        work_tree = folder / "code"
        work_tree.mkdir()
        for name, text in PROGRAMS.items():
            lines = text.strip("\n").split("\n")
            indent = len(lines[0]) - len(lines[0].lstrip())
            (work_tree / f"{name}.py").write_text("\n".join(line[indent:] for line in lines))
        (work_tree / "requirements-installer.lock").write_text(OTHER_LOCK)
        (work_tree / "requirements.lock").write_text(OTHER_LOCK)
        self.not_installable = self.repository.commit(work_tree)
        (work_tree / "requirements.lock").write_text(LOCK)
        self.commit = self.repository.commit(work_tree)

    def boot(self, name: str, case: Case) -> None:
        given = {
            "dagster-run-id": RUN,
            "dagster-module": case.module,
            "git-url": self.repository.url,
            "git-ref": self.commit,
            "dagster-pipes-context": "c-1",
            "dagster-pipes-messages": "m-1",
            **case.attributes,
        }
        metadata = {**default_metadata(), **{key: value for key, value in given.items() if value}}
        self.server.add_instance(ZONE, name, status="RUNNING", metadata=metadata, scheduling=case.scheduling)

    def status(self, name: str) -> str:
        return self.server.instances()[ZONE, name]["status"]

    def wait_off(self, name: str) -> None:
        wait_until(lambda: self.status(name) == "TERMINATED", 60, f"power-off of {name}: {self.printed(name)}")

    def printed(self, name: str) -> str:
        return self.server.serial(ZONE, name)

    def lines(self, name: str) -> list[dict[str, Any]]:
        """What the script logged; everything it prints is such a line."""
        prefix = "startup-script: "
        printed = [line.removeprefix(prefix) for line in self.printed(name).splitlines() if line.startswith(prefix)]
        return [json.loads(line) for line in printed]

    def messages(self, name: str) -> list[str]:
        return [line["message"] for line in self.lines(name)]

    def said(self, name: str) -> dict[str, str]:
        """Guest attributes, without the run's id."""
        values = self.server.guest_attributes(ZONE, name)
        return {key.removeprefix("dagster/").replace(RUN, "RUN"): value for key, value in values.items()}

    def why_off(self, name: str) -> str:
        return [event for event in self.server.history("status") if event["instance"] == name][-1]["why"]


CASES = {
    "success": Case(),
    "session": Case(attributes={"dagster-session": f"{RUN}-2"}),
    "crash": Case("crashes"),
    "killed": Case("runs_out_of_memory"),
    "child": Case("leaves_a_child"),
    "timeout": Case("is_slow", {"dagster-max-seconds": "3"}),
    "idle": Case("does_nothing", {"idle-seconds": "3"}),
    "unknown-commit": Case(attributes={"git-ref": "1" * 40}),
    "branch": Case(attributes={"git-ref": "main"}),
    "no-repository": Case(attributes={"git-url": "/nowhere/at/all"}),
    "going-down": Case("is_ended"),
    "interactive": Case(attributes={"dagster-run-id": ""}),
    "power": Case(),
}


@pytest.fixture(scope="module")
def site(compute_engine_process: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """All machines of CASES, booted at the same time: what a test waits for passes while another one waits."""
    folder = tmp_path_factory.mktemp("site")
    environment = folder / "environment"
    environment.symlink_to(sys.prefix)
    stamped = {f"environments/{hashlib.sha256(LOCK.encode()).hexdigest()}": str(environment)}
    server = ComputeEngineServer(compute_engine_process, f"startup-{time.time_ns()}", Image("", "", stamped))
    # Nothing is downloaded in a test.
    server.guest_environment(PIP_NO_INDEX="1")
    made = Site(server, folder)
    server.inject("poweroff", "forbidden", times=2, instance="power")
    for name, case in CASES.items():
        made.boot(name, case)
    made.boot("no-install", Case(attributes={"git-ref": made.not_installable}))
    yield made
    server.end()


def test_the_work_is_done_by_the_pinned_commit_in_the_locked_environment(site: Site) -> None:
    site.wait_off("success")
    assert site.said("success") == {"phase-RUN": "done", "exit-RUN": "0"}
    phases = [e["value"] for e in site.server.history("guest") if e["instance"] == "success" and "phase" in e["what"]]
    assert phases == ["boot", "checkout", "install", "work", "done"]
    assert site.why_off("success") == "guest"
    home = site.server.home(ZONE, "success")
    environment = home / "environments" / hashlib.sha256(LOCK.encode()).hexdigest()
    assert f"context c-1 of {environment}" in site.messages("success")
    assert (home / "code" / ".git" / "HEAD").read_text().strip() == site.commit


def test_the_log_is_json_lines_with_the_runs_id_on_the_serial_port_and_on_the_disk(site: Site) -> None:
    site.wait_off("success")
    lines = site.lines("success")
    ours = [line for line in lines if line["message"] != "my own line"]
    assert {line["run_id"] for line in ours} == {RUN}
    assert {line["source"] for line in ours} == {"startup", "worker"}
    assert {"severity": "NOTICE", "message": "my own line"} in lines, "JSON of the worker stays as it is"
    assert 'a "quoted" \\ line' in [line["message"] for line in ours]
    log = site.server.home(ZONE, "success").parents[1] / "var" / "log" / "mmt_assets" / "startup.jsonl"
    assert [json.loads(line) for line in log.read_text().splitlines()] == lines


# How this machine reaches a package index, for the machines of the test that installs from it.
_INDEX_VARIABLES = re.compile(r"(PIP|UV|SSL|REQUESTS)_.*|.*_proxy", re.IGNORECASE)
_READY = """
import dagster_pipes, prophet
from mmt_assets.forecasting import forecast
print("ready with prophet", prophet.__version__)
"""


@pytest.mark.chaos
@pytest.mark.timeout(1500)
def test_the_locked_environment_is_installed_where_it_is_missing(compute_engine_process: str, tmp_path: Path) -> None:
    server = ComputeEngineServer(compute_engine_process, f"install-{time.time_ns()}", Image("", "", {}))
    server.guest_environment(**{name: value for name, value in os.environ.items() if _INDEX_VARIABLES.fullmatch(name)})
    site = Site(server, tmp_path)
    work_tree = tmp_path / "product"
    shutil.copytree(ROOT / "mmt_assets", work_tree / "mmt_assets", ignore=shutil.ignore_patterns("__pycache__"))
    for lock in ("requirements-installer.lock", "requirements.lock"):
        shutil.copy(ROOT / lock, work_tree)
    (work_tree / "ready.py").write_text(_READY)
    commit = site.repository.commit(work_tree)
    try:
        site.boot("bare", Case("ready", {"git-ref": commit}))
        wait_until(lambda: site.status("bare") == "TERMINATED", 1200, "the installation")
        assert site.said("bare") == {"phase-RUN": "done", "exit-RUN": "0"}, site.printed("bare")
        assert any(message.startswith("ready with prophet") for message in site.messages("bare"))
        lock = hashlib.sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()
        assert (server.home(ZONE, "bare") / "environments" / lock / "installed").exists()
    finally:
        server.end()


def test_one_run_may_have_several_sessions(site: Site) -> None:
    site.wait_off("session")
    assert site.said("session") == {"phase-RUN-2": "done", "exit-RUN-2": "0"}


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("crash", "1", "RuntimeError: no rows"),
        ("killed", "137", "the worker ended with exit code 137"),
        ("timeout", "124", "the worker was ended after 3 s"),
        ("idle", "74", "the worker used no processor for 3 s and was ended"),
        ("unknown-commit", "71", f"commit {'1' * 40} of"),
        ("branch", "71", "git-ref must be a full commit SHA, got 'main'"),
        ("no-repository", "71", "'/nowhere/at/all' does not appear to be a git repository"),
        ("no-install", "72", "requirements.lock could not be installed"),
    ],
)
def test_a_failure_is_told_and_the_machine_goes_off(site: Site, name: str, code: str, message: str) -> None:
    site.wait_off(name)
    assert site.said(name) == {"phase-RUN": "done", "exit-RUN": code}
    assert any(message in line for line in site.messages(name)), site.printed(name)
    assert site.why_off(name) == "guest"
    exit_said = next(e for e in site.server.history("guest") if e["instance"] == name and "exit" in e["what"])
    stopping = next(e for e in site.server.history("status") if e["instance"] == name and e["now"] == "STOPPING")
    assert stopping["at"] - exit_said["at"] > 1.5, "a moment in which the run can still read the serial port"


def test_what_a_worker_leaves_behind_does_not_keep_the_machine_on(site: Site) -> None:
    site.wait_off("child")
    assert site.said("child")["exit-RUN"] == "0"


def test_a_machine_without_a_run_is_left_alone(site: Site) -> None:
    wait_until(lambda: "startup-script exit status 0" in site.printed("interactive"), 60, "the script's end")
    assert site.messages("interactive") == ["there is no dagster-run-id: booted by hand, left alone"]
    assert site.status("interactive") == "RUNNING"
    assert site.said("interactive") == {}


def test_powering_off_is_tried_until_it_works(site: Site) -> None:
    site.wait_off("power")
    presses = [e for e in site.server.history("guest") if e["instance"] == "power" and e["what"] == "poweroff"]
    assert [press["failed"] for press in presses] == [True, True, False]


def test_a_machine_that_is_started_again_with_the_same_metadata_runs_nothing(site: Site) -> None:
    site.boot("again", Case("works_long"))
    wait_until(lambda: "at work" in site.printed("again"), 60, "the work")
    site.server.reset(ZONE, "again")
    site.wait_off("again")
    assert site.said("again") == {"phase-RUN": "work"}, "cut off: no exit code, and none is made up"
    assert any("has begun before" in message for message in site.messages("again"))
    assert site.messages("again").count("at work") == 1

    site.wait_off("success")
    before = site.messages("success")
    site.server.start(ZONE, "success")
    assert site.status("success") != "TERMINATED"
    site.wait_off("success")
    assert site.messages("success")[len(before) :] == [f"session {RUN} has begun before: nothing is run again"]
    assert site.said("success")["exit-RUN"] == "0"


@pytest.mark.parametrize(("how", "phase"), [("stop", "stopped"), ("preempt", "preempted")])
def test_a_machine_that_is_ended_from_outside_says_so_and_gives_no_exit_code(site: Site, how: str, phase: str) -> None:
    site.server.set_pace(grace_seconds=30)
    site.boot(how, Case("works_long", scheduling=SPOT))
    wait_until(lambda: "at work" in site.printed(how), 60, "the work")
    if how == "stop":
        site.server.stop(ZONE, how)
    else:
        site.server.preempt(ZONE, how)
    site.wait_off(how)
    assert site.said(how) == {"phase-RUN": phase}
    assert "the machine is being ended from outside" in site.messages(how)


def test_a_worker_that_gets_the_shutdowns_signal_first_gives_no_exit_code(site: Site) -> None:
    site.wait_off("going-down")
    assert site.said("going-down") == {"phase-RUN": "stopped"}


def test_a_machine_that_is_ended_while_it_boots_gives_no_exit_code(site: Site) -> None:
    site.server.set_pace(grace_seconds=30)
    for number in range(3):
        name = f"early-{number}"
        # One whose work does not end by itself: what it did before the stop is not the question.
        site.boot(name, Case("does_nothing"))
        wait_until(lambda name=name: name in {e["instance"] for e in site.server.history("script_started")}, 60, "boot")
        time.sleep(0.1 * number)
        site.server.stop(ZONE, name)
    for number in range(3):
        site.wait_off(f"early-{number}")
        assert "exit-RUN" not in site.said(f"early-{number}")


def test_the_ops_agent_gets_the_log_where_it_is(site: Site, tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    systemctl = tmp_path / "systemctl"
    systemctl.write_text("#!/bin/sh\necho systemctl $*\n")
    systemctl.chmod(0o755)
    of_disk = {"etc/google-cloud-ops-agent": tmp_path / "agent", "bin/systemctl": systemctl}
    site.server.put_on_disks(**{f"../../{path}": str(source) for path, source in of_disk.items()})
    site.boot("agent", Case())
    site.wait_off("agent")
    assert "systemctl restart google-cloud-ops-agent" in site.messages("agent")
    folder = site.server.home(ZONE, "agent").parents[1]
    logging = yaml.safe_load((folder / "etc/google-cloud-ops-agent/config.yaml").read_text())["logging"]
    [pipeline] = logging["service"]["pipelines"].values()
    assert [logging["receivers"][name]["include_paths"] for name in pipeline["receivers"]] == [
        ["/var/log/mmt_assets/*.jsonl"]
    ]
    assert [logging["processors"][name]["type"] for name in pipeline["processors"]] == ["parse_json", "modify_fields"]


@pytest.mark.parametrize(("module", "code"), [("succeeds", "0"), ("crashes", "1")])
def test_the_end_is_published(
    site: Site, pubsub: PubSub, pubsub_emulator: PubSubEmulator, pubsub_project: str, module: str, code: str
) -> None:
    site.server.guest_environment(PUBSUB_EMULATOR_HOST=pubsub_emulator.address)
    name = f"publishes-{code}"
    site.boot(name, Case(module, {"vm-events-topic": f"projects/{pubsub_project}/topics/mmt-vm-events"}))
    [message] = wait_until(lambda: pubsub.pull("mmt-vm-events", 10), 60, "vm.finished")
    assert message.attributes == {
        "event": "vm.finished", "run_id": RUN, "zone": ZONE, "instance": name, "exit": code,
    }  # fmt: skip
    assert site.said(name)["exit-RUN"] == code, "what it says of itself comes before the message"
    site.wait_off(name)


def test_a_topic_that_is_not_there_keeps_no_machine_on(site: Site, pubsub_emulator: PubSubEmulator) -> None:
    site.server.guest_environment(PUBSUB_EMULATOR_HOST=pubsub_emulator.address)
    site.boot("unheard", Case(attributes={"vm-events-topic": "projects/no-project/topics/none"}))
    site.wait_off("unheard")
    assert "vm.finished could not be published to projects/no-project/topics/none" in site.messages("unheard")
    assert site.said("unheard")["exit-RUN"] == "0"


def test_elsewhere_the_script_refuses(tmp_path: Path) -> None:
    product = Path("/sys/class/dmi/id/product_name")
    if product.exists() and product.read_text().strip() == "Google Compute Engine":
        pytest.skip("this is a Compute Engine machine: here the script would do its work")
    for name in ("poweroff", "curl"):
        (tmp_path / name).write_text("#!/bin/sh\necho called >&2\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["bash", STARTUP_SCRIPT],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "ANALYSIS_SERVER_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "this is no Compute Engine machine: the script would power it off\n")
