"""A project folder whose code server, daemon and webserver are real processes, to be killed and restarted."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import psutil
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster_graphql.schema import create_schema

from mmt_assets.settings import Settings

ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
LAUNCH = """
mutation($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""


BACKFILL = """
mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.1)
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that this test started, and all its children."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.kill()
    process.wait()
    for child in children:
        if child.is_running():
            child.kill()


class Deployment:
    """A project folder with its code server, daemon and webserver as processes of their own.

    Attributes:
        folder: The folder; it holds dagster.yaml already.
        settings: What the processes read from their environment.
        environment: That environment.
        processes: Those at work, by name: code, daemon, webserver.
        module: What the code server loads.
    """

    module = "mmt_assets.definitions"

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MMT_", "DAGSTER_"))}
        given = {
            "MMT_WORKER_PROCESSES": "1",
            "MMT_HEARTBEAT_SECONDS": "1",
            "MMT_STALE_AFTER_HEARTBEATS": "60",
            "MMT_TIMEZONE": "UTC",
            **settings,
        }
        self.environment = {**kept, **given, "DAGSTER_HOME": str(folder), "OMP_NUM_THREADS": "1"}
        self.settings = Settings.from_env(given)
        (folder / "workspace.yaml").write_text(
            f"load_from:\n- grpc_server: {{host: 127.0.0.1, port: {self.port}, location_name: mmt_assets}}\n"
        )
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def command(self, *arguments: str, **settings: str) -> None:
        """Run `python -m mmt_assets` in the folder."""
        done = subprocess.run(
            [sys.executable, "-m", "mmt_assets", *arguments],
            cwd=self.folder,
            env={**self.environment, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, name: str, *arguments: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()

    def up(self) -> None:
        self.start_code_server()
        self.start_daemon()

    def start_daemon(self) -> None:
        self.start("daemon", "dagster._daemon", "run", "-w", "workspace.yaml")

    def start_code_server(self) -> None:
        self.start("code", "dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(self.port), "-m",
                   self.module, "--location-name", "mmt_assets")  # fmt: skip
        wait_until(lambda: is_listening(self.port), 90, "the code server's start")

    def start_webserver(self) -> str:
        """Start the UI; returns its address."""
        port = free_port()
        self.start("webserver", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", "workspace.yaml")
        wait_until(lambda: is_listening(port), 90, "the webserver's start")
        return f"http://127.0.0.1:{port}"

    def down(self) -> None:
        for process in self.processes.values():
            end_tree(process)
        self.processes.clear()

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in self.folder.glob("*.log"))

    @contextmanager
    def workspace(self, instance: dg.DagsterInstance) -> Iterator[WorkspaceProcessContext]:
        """The code location, loaded as the webserver has it."""
        target = GrpcServerTarget(host="127.0.0.1", port=self.port, socket=None, location_name="mmt_assets")
        with WorkspaceProcessContext(instance, target) as loaded:
            yield loaded

    def launch(self, instance: dg.DagsterInstance, request: dg.RunRequest) -> str:
        """Put a run into the queue, as the UI does."""
        return self.launch_all(instance, [request])[0]

    def launch_in(self, workspace: WorkspaceProcessContext, request: dg.RunRequest) -> str:
        """The same with a workspace that is loaded already."""
        return asyncio.run(_launch(workspace, [request]))[0]

    def launch_all(self, instance: dg.DagsterInstance, requests: Sequence[dg.RunRequest]) -> list[str]:
        """Put runs into the queue, one after the other; returns their ids."""
        with self.workspace(instance) as workspace:
            return asyncio.run(_launch(workspace, requests))

    def backfill(self, instance: dg.DagsterInstance, assets: Sequence[dg.AssetKey], days: Sequence[str]) -> str:
        """Ask the daemon for a backfill, as the UI does."""
        params = {"assetSelection": [{"path": key.path} for key in assets], "partitionNames": list(days)}
        with self.workspace(instance) as workspace, workspace.create_request_context() as context:
            answer = asyncio.run(
                _schema().execute_async(BACKFILL, context_value=context, variable_values={"params": params})
            )
        told = (answer.data or {}).get("launchPartitionBackfill", {})
        assert told.get("__typename") == "LaunchBackfillSuccess", told or answer.errors
        return told["backfillId"]

    def run_process(self, instance: dg.DagsterInstance, run_id: str) -> psutil.Process | None:
        """The run's own process, once it has a worker."""
        for child in psutil.Process(self.processes["code"].pid).children():
            if any("mmt_assets.worker" in grandchild.cmdline() for grandchild in child.children()):
                return child
        assert status(instance, run_id) not in ENDED, "the run ended before its worker was seen"
        return None

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.settings.warehouse_path), read_only=True) as connection:
            return connection.execute(sql).fetchall()


@cache
def _schema() -> Any:
    """Dagster's GraphQL schema, made once: dagster_graphql's own execute_query makes it for every query."""
    return create_schema()


async def _launch(workspace: WorkspaceProcessContext, requests: Sequence[dg.RunRequest]) -> list[str]:
    launched = list[str]()
    with workspace.create_request_context() as context:
        for request in requests:
            selector = {
                "repositoryLocationName": "mmt_assets",
                "repositoryName": "__repository__",
                "jobName": request.job_name,
                "assetSelection": [{"path": key.path} for key in request.asset_selection or []] or None,
            }
            tags = [{"key": key, "value": value} for key, value in request.tags.items()]
            params = {"selector": selector, "executionMetadata": {"tags": tags}}
            answer = await _schema().execute_async(LAUNCH, context_value=context, variable_values={"params": params})
            told = (answer.data or {}).get("launchRun", {})
            assert told.get("__typename") == "LaunchRunSuccess", told or answer.errors
            launched.append(told["run"]["runId"])
    return launched


@contextmanager
def instance_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    # Its directories are relative.
    monkeypatch.chdir(folder)
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
