"""Plays one history: starts its processes, does what the plot says when its moment comes, waits for the end."""

import contextlib
import json
import os
import shutil
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import dagster as dg

from mmt_assets.gcp.machines import LIFECYCLE_LABEL, RUN_LABEL, own_labels, run_labels
from mmt_assets.settings import Settings
from mmt_assets_tests.machine_histories.actors import WORKER, Home, code_server, daemon, fork
from mmt_assets_tests.machine_histories.plot import Event, Plot
from mmt_assets_tests.servers.compute_engine.faults import Call
from mmt_assets_tests.servers.compute_engine.fixture import ZONES, ComputeEngineServer, default_metadata
from mmt_assets_tests.servers.compute_engine.image import Image

# Seconds of the story that pass in one; see the package.
SPEED = 6.0
HEARTBEAT_SECONDS, STALE_HEARTBEATS = 2.0, 15
PRICE_PER_SECOND = 0.000075
NAMED = "mmt-analysis-server"
DEADLINE_SECONDS = 150.0
_QUIET_SECONDS = 1.5
_POLL_SECONDS = 0.1
# A look that takes longer than this is noted: then this computer had no time for us.
_LAG_SECONDS = 0.4
OTHERS = {
    "mmt-analysis-of-somebody": {},
    "mmt-analysis-of-another-dagster": run_labels("another", "00000000-0000-0000-0000-000000000000", "ephemeral"),
}


@dataclass(frozen=True)
class Site:
    """What all histories share: the servers, what machines boot from, and an empty Dagster instance.

    Attributes:
        compute_endpoint: Address of Compute Engine.
        storage_endpoint: Address of Cloud Storage.
        image: What machines boot from.
        empty_home: A Dagster instance that nothing has happened in.
        folder: Folder of the histories.
    """

    compute_endpoint: str
    storage_endpoint: str
    image: Image
    empty_home: Path
    folder: Path


def write_instance(folder: Path) -> None:
    """Configuration of a Dagster instance in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    where = json.dumps(str(folder))
    (folder / "dagster.yaml").write_text(
        f"storage: {{sqlite: {{base_dir: {where}}}}}\n"
        "local_artifact_storage: {module: dagster._core.storage.root, class: LocalArtifactStorage, "
        f"config: {{base_dir: {where}}}}}\n"
        "compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}\n"
        "telemetry: {enabled: false}\n"
    )


class Stage:
    """One history.

    Attributes:
        plot: What happens.
        home: Its folder.
        cloud: Its project.
        run_id: Its run.
    """

    def __init__(self, site: Site, plot: Plot) -> None:
        self.plot = plot
        folder = site.folder / f"history-{plot.number}"
        shutil.copytree(site.empty_home, folder / "dagster")
        write_instance(folder / "dagster")
        (folder / "script.json").write_text(json.dumps(asdict(plot)))
        self.cloud = ComputeEngineServer(site.compute_endpoint, f"history-{plot.number}", site.image)
        self.home = Home(folder, self._settings(site), site.image.git_ref)
        self._set_the_cloud()
        self.run_id = self._make_run()
        self._pids: dict[str, int] = {}
        self._again: list[tuple[float, str]] = []
        self._outage_ends: float | None = None

    def _settings(self, site: Site) -> Settings:
        return Settings.from_env(
            {
                "MMT_ENV": "gcp",
                "MMT_PROJECT": self.cloud.project,
                "MMT_ZONES": ",".join(ZONES),
                "MMT_VM_TEMPLATE": self.cloud.add_template(),
                "MMT_VM_LIFECYCLE": "named" if self.plot.is_named else "ephemeral",
                "MMT_VM_NAME": NAMED,
                "MMT_VM_SPOT": str(self.plot.is_spot),
                "MMT_VM_BOOT_SECONDS": "15",
                "MMT_VM_SILENCE_SECONDS": "6",
                "MMT_VM_MAX_SECONDS": "90",
                "MMT_VM_GONE_SECONDS": "10",
                "MMT_VM_PRICE_PER_SECOND": str(PRICE_PER_SECOND),
                "MMT_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
                "MMT_STALE_AFTER_HEARTBEATS": str(STALE_HEARTBEATS),
                "MMT_GIT_URL": site.image.git_url,
                "MMT_PIPES_BUCKET": "histories",
                "MMT_COMPUTE_ENDPOINT": site.compute_endpoint,
                "MMT_STORAGE_ENDPOINT": site.storage_endpoint,
                "MMT_FAN_HASH_KEY": "tests",
            }
        )

    def _set_the_cloud(self) -> None:
        self.cloud.set_pace(boot_seconds=1.0, operation_seconds=0.3, stop_seconds=0.5, speed=3.0)
        for name, labels in OTHERS.items():
            self.cloud.add_instance(ZONES[0], name, labels=labels, status="RUNNING")
        if self.plot.is_named:
            labels = {**own_labels(self.home.settings.deployment), LIFECYCLE_LABEL: "named", RUN_LABEL: ""}
            self.cloud.add_instance(ZONES[0], NAMED, labels=labels, metadata=default_metadata())
        for fault in self.plot.faults:
            self.cloud.inject(**vars(fault))

    def _make_run(self) -> str:
        with self.home.instance() as instance:
            return instance.create_run_for_job(self.home.job()).run_id

    def play(self) -> None:
        """Until the run is over and its machines are gone, or the deadline has passed."""
        try:
            self._start("code_server", starts_run=True)
            self._start("daemon")
            with self.home.instance() as instance:
                self._follow(instance)
        finally:
            for name in ("daemon", "code_server", "run"):
                self._kill(name)
            (self.home.folder / "cloud.json").write_text(json.dumps(self.cloud.history()))
            self.home.note("stage", "over", left=[f"{z}/{n}" for (z, n), found in self._ours().items() if found])

    def _follow(self, instance: dg.DagsterInstance) -> None:
        began, waiting, quiet_since = time.monotonic(), list(self.plot.events), None
        happened: dict[str, float] = {"start": began}
        last = began
        while (now := time.monotonic()) - began < DEADLINE_SECONDS:
            if (lag := now - last - _POLL_SECONDS) > _LAG_SECONDS:
                self.home.note("stage", "lag", seconds=lag)
            last = now
            for moment in self._moments():
                happened.setdefault(moment, now)
            due = [e for e in waiting if e.moment in happened and now - happened[e.moment] >= e.delay]
            for event in due:
                waiting.remove(event)
                self._do(instance, event)
            self._repair()
            is_quiet = not self._ours() and not self._again and not due and self._is_over(instance)
            quiet_since = (quiet_since or now) if is_quiet else None
            if quiet_since and now - quiet_since > _QUIET_SECONDS:
                return
            time.sleep(_POLL_SECONDS)

    def _is_over(self, instance: dg.DagsterInstance) -> bool:
        run = instance.get_run_by_id(self.run_id)
        assert run is not None
        # A dead run without a machine costs nothing; whoever looks for dead runs is no part of this.
        is_dead = any(entry["what"] == "killed run" for entry in self.home.log())
        return run.is_finished or is_dead

    def _ours(self) -> dict[tuple[str, str], Any]:
        """Machines that cost something, but for others' machines."""
        return {
            place: found
            for place, found in self.cloud.instances().items()
            if place[1] not in OTHERS and found["status"] != "TERMINATED"
        }

    def _moments(self) -> set[str]:
        found = {entry["what"] for entry in self.home.log() if entry["who"] == "worker"}
        for event in self.cloud.history():
            if event.get("instance") in OTHERS:
                continue
            if event["kind"] == "call" and event["method"] in ("insert", "start"):
                found.add("insert")
            elif event["kind"] == "status" and event["now"] in ("RUNNING", "STOPPING"):
                found.add(event["now"])
            elif event["kind"] == "guest" and event["what"].startswith("dagster/exit"):
                found.add("ended")
        return found

    def _do(self, instance: dg.DagsterInstance, event: Event) -> None:
        self.home.note("stage", f"{event.deed} {event.victim if event.deed == 'kill' else ''}".strip())
        if event.deed == "outage":
            for call in get_args(Call):
                if call not in ("poweroff", "templates.get"):
                    self.cloud.inject(call, "unavailable", times=None)
            self._outage_ends = time.monotonic() + event.seconds
        elif event.deed == "terminate":
            run = instance.get_run_by_id(self.run_id)
            if run and not run.is_finished and "run" in self._known_pids():
                instance.report_run_canceling(run)
                self._signal("run", signal.SIGINT)
        elif event.deed == "kill" and event.victim not in ("worker", "machine"):
            self._kill(event.victim)
            if event.victim != "run":
                self._again.append((time.monotonic() + event.seconds, event.victim))
        else:
            for zone, name in self._ours():
                with contextlib.suppress(AssertionError):
                    self._disturb(event, zone, name)

    def _disturb(self, event: Event, zone: str, name: str) -> None:
        """Something happens to a machine; it may be gone by now, or be one to which this cannot happen."""
        if event.deed == "preempt":
            self.cloud.preempt(zone, name)
        elif event.deed == "reset":
            self.cloud.reset(zone, name)
        elif event.victim == "worker":
            self.cloud.kill(zone, name, WORKER)
        else:
            self.cloud.stop(zone, name)

    def _repair(self) -> None:
        now = time.monotonic()
        if self._outage_ends is not None and now >= self._outage_ends:
            self._outage_ends = None
            self.cloud.clear_faults()
            self.home.note("stage", "outage over")
        for at, name in list(self._again):
            if now >= at:
                self._again.remove((at, name))
                self._start(name)

    def _start(self, name: str, *, starts_run: bool = False) -> None:
        if name in self._pids:
            return
        bodies = {
            "code_server": lambda: code_server(self.home, self.run_id, starts_run=starts_run),
            "daemon": lambda: daemon(self.home, self._is_code_server_up),
        }
        self._pids[name] = fork(self.home, name, bodies[name])
        self.home.note("stage", f"started {name}", child=self._pids[name])

    def _is_code_server_up(self) -> bool:
        """Asked from the daemon's process, which knows of code servers only what the log says."""
        told = [entry for entry in self.home.log() if entry["what"] in ("started code_server", "killed code_server")]
        return bool(told) and told[-1]["what"] == "started code_server"

    def _known_pids(self) -> dict[str, int]:
        started = [entry for entry in self.home.log() if entry["what"] == "started run"]
        return {**self._pids, **({"run": started[0]["child"]} if started else {})}

    def _kill(self, name: str) -> None:
        if self._signal(name, signal.SIGKILL):
            self.home.note("stage", f"killed {name}")
        if name in self._pids:
            os.waitpid(self._pids.pop(name), 0)

    def _signal(self, name: str, number: int) -> bool:
        pid = self._known_pids().get(name)
        has_ended = name == "run" and any(e["who"] == "run" and e["what"] == "ends" for e in self.home.log())
        if pid is None or has_ended:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True
