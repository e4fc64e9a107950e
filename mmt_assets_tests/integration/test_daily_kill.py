"""The daily run under a real daemon and code server: killed, replaced, asked for twice."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import psutil
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster_graphql.cli import execute_query

from mmt_assets import sample
from mmt_assets.assets.run_once import AS_OF_TAG, DAILY_POOL
from mmt_assets.contracts import (
    BOOKING_CURVES,
    CITY_DEMAND,
    CITY_DEMAND_FORECAST,
    CONCERT_OUTLOOK,
    CONCERT_SALES,
    MAKES,
    TICKET_ORDERS,
    TICKET_REFUNDS,
    TICKET_SALES,
    TableContract,
)
from mmt_assets.daily import daily_run_request
from mmt_assets.jobs import DAILY_JOB
from mmt_assets.settings import Settings

ROOT = Path(__file__).parents[2]
FIRST, LOADED, TODAY = date(2026, 9, 28), date(2026, 10, 9), date(2026, 10, 12)
DAY_TABLES = (TICKET_ORDERS, TICKET_REFUNDS, MAKES, CONCERT_SALES, CITY_DEMAND)
FORECASTS = (TICKET_SALES, CONCERT_OUTLOOK, BOOKING_CURVES, CITY_DEMAND_FORECAST)
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


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that this test started, and all its children."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.kill()
    process.wait()
    for child in children:
        if child.is_running():
            child.kill()


class Deployment:
    """A project folder with its code server and daemon as processes of their own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MMT_", "DAGSTER_"))}
        given = {
            "MMT_SOURCE": str(folder / "bookings"),
            "MMT_FIRST_DAY": FIRST.isoformat(),
            "MMT_LAST_DAY": TODAY.isoformat(),
            "MMT_WORKER_PROCESSES": "1",
            "MMT_HEARTBEAT_SECONDS": "1",
            "MMT_STALE_AFTER_HEARTBEATS": "60",
            # Nobody's morning: the tests ask for runs themselves unless they say otherwise.
            "MMT_DAILY_AT": (datetime.now(UTC) - timedelta(hours=1)).strftime("%H:%M"),
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
        self.start("daemon", "dagster._daemon", "run", "-w", "workspace.yaml")

    def start_code_server(self) -> None:
        self.start("code", "dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(self.port), "-m",
                   "mmt_assets.definitions", "--location-name", "mmt_assets")  # fmt: skip
        wait_until(self.is_listening, 90, "the code server's start")

    def is_listening(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def down(self) -> None:
        for process in self.processes.values():
            end_tree(process)
        self.processes.clear()

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in self.folder.glob("*.log"))

    def launch(self, instance: dg.DagsterInstance, request: dg.RunRequest) -> str:
        """Put a run into the queue, as the UI does."""
        target = GrpcServerTarget(host="127.0.0.1", port=self.port, socket=None, location_name="mmt_assets")
        selector = {
            "repositoryLocationName": "mmt_assets",
            "repositoryName": "__repository__",
            "jobName": request.job_name,
            "assetSelection": [{"path": key.path} for key in request.asset_selection or []] or None,
        }
        tags = [{"key": key, "value": value} for key, value in request.tags.items()]
        with WorkspaceProcessContext(instance, target) as workspace:
            params = {"selector": selector, "executionMetadata": {"tags": tags}}
            answer = execute_query(workspace, LAUNCH, {"params": params})
        launched = (answer.get("data") or {}).get("launchRun", answer)
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]

    def run_process(self, instance: dg.DagsterInstance, run_id: str) -> psutil.Process | None:
        """The run's own process, once its worker is at work."""
        for child in psutil.Process(self.processes["code"].pid).children():
            if any("mmt_assets.worker" in grandchild.cmdline() for grandchild in child.children()):
                return child
        assert status(instance, run_id) not in ENDED, "the run ended before its worker was seen"
        return None

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.settings.warehouse_path), read_only=True) as connection:
            return connection.execute(sql).fetchall()


@contextmanager
def deployment(folder: Path, *, is_new: bool = False, **settings: str) -> Iterator[Deployment]:
    shutil.copy(ROOT / "dagster.yaml", folder)
    sample.write_source(folder / "bookings", first_day=FIRST, last_day=TODAY)
    made = Deployment(folder, MMT_HOME=str(folder / ".mmt"), **settings)
    if is_new:
        made.command("prepare")
    else:
        # Three days before the last one: then nobody was there.
        made.command("demo", "--source", "bookings", "--as-of", LOADED.isoformat(), MMT_LAST_DAY=LOADED.isoformat())
    try:
        yield made
    finally:
        made.down()


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


def runs_of_today(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    return list(reversed(instance.get_runs(dg.RunsFilter(tags={AS_OF_TAG: TODAY.isoformat()}))))


def assert_every_slice_once(made: Deployment) -> None:
    def doubled(table: TableContract) -> list[tuple[Any, ...]]:
        key = ", ".join(f'"{name}"' for name in table.key)
        return made.rows(f"SELECT {key}, COUNT(*) FROM {table.table} GROUP BY ALL HAVING COUNT(*) > 1")

    for table in (*DAY_TABLES, *FORECASTS):
        assert doubled(table) == [], table.table
    missed = [(LOADED + timedelta(days=n)).isoformat() for n in range(4)]
    for table in FORECASTS:
        days = made.rows(f"SELECT DISTINCT as_of_date::DATE::VARCHAR FROM {table.table} ORDER BY 1")
        assert [day for (day,) in days] == missed, table.table
    ordered = made.rows(f"SELECT SUM(quantity), COUNT(DISTINCT order_date) FROM {TICKET_ORDERS.table}")
    sold = made.rows(f"SELECT SUM(tickets_sold), COUNT(DISTINCT sales_date) FROM {CONCERT_SALES.table}")
    assert ordered[0][0] == sold[0][0]
    assert ordered[0][1] == (TODAY - FIRST).days + 1


# A code server that lives sees its child's death and fails the run itself; when it dies too, only the sensor does.
@pytest.mark.parametrize("with_code_server", [True, pytest.param(False, marks=pytest.mark.chaos)])
def test_a_killed_daily_run_leaves_no_process_and_is_made_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_code_server: bool
) -> None:
    with deployment(tmp_path) as made, instance_of(tmp_path, monkeypatch) as instance:
        made.up()
        request = daily_run_request(instance, made.settings, TODAY)
        assert isinstance(request, dg.RunRequest), request
        killed = made.launch(instance, request)
        again = made.launch(instance, request)

        process = wait_until(lambda: made.run_process(instance, killed), 90, "the worker's start")
        tree = [process, *process.children(recursive=True)]
        assert status(instance, again) == dg.DagsterRunStatus.QUEUED, "the pool lets one run in"
        if with_code_server:
            made.processes["code"].kill()
            made.processes["code"].wait()
        process.send_signal(signal.SIGKILL)
        wait_until(lambda: not any(is_alive(member) for member in tree), 15, "the end of the run's processes")
        if with_code_server:
            made.start_code_server()

        wait_until(lambda: status(instance, killed) == dg.DagsterRunStatus.FAILURE, 60, "the failure")
        by_sensor = any(f"its process {process.pid} is gone" in entry.message for entry in instance.all_logs(killed))
        assert by_sensor or not with_code_server
        wait_until(
            lambda: len(runs_of_today(instance)) == 3 and all(run.is_finished for run in runs_of_today(instance)),
            120,
            "the end of the retry and of the second request\n" + made.logs(),
        )
        told = {run.run_id: run for run in runs_of_today(instance)}
        [retried] = [run for run in told.values() if run.parent_run_id == killed]
        statuses = sorted([told[again].status.value, retried.status.value])
        assert statuses == ["CANCELED", "SUCCESS"], "one of them made the day, the other found it made"
        assert instance.event_log_storage.get_concurrency_info(DAILY_POOL).active_slot_count == 0
        assert_every_slice_once(made)


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.chaos
def test_after_three_days_without_a_daemon_the_schedule_makes_them_in_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=150)).strftime("%H:%M")
    with deployment(tmp_path, MMT_DAILY_AT=at) as made, instance_of(tmp_path, monkeypatch) as instance:
        made.up()
        wait_until(lambda: runs_of_today(instance), 240, "the schedule's tick\n" + made.logs())
        wait_until(lambda: all(run.is_finished for run in runs_of_today(instance)), 120, "the run's end")
        [run] = runs_of_today(instance)
        assert run.status == dg.DagsterRunStatus.SUCCESS
        assert run.job_name == DAILY_JOB
        first, last = (run.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))
        assert (first, last) == ((LOADED + timedelta(days=1)).isoformat(), TODAY.isoformat())
        assert_every_slice_once(made)


@pytest.mark.chaos
def test_in_a_new_project_the_history_comes_first_and_the_day_follows_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with deployment(tmp_path, is_new=True) as made, instance_of(tmp_path, monkeypatch) as instance:
        made.up()
        # A sensor for runs begins with those that end after its first tick.
        wait_until(lambda: "Initiating catch_up_sensor" in made.logs(), 60, "the sensor's first tick")
        request = daily_run_request(instance, made.settings, TODAY)
        assert isinstance(request, dg.RunRequest), request
        history = made.launch(instance, request)
        wait_until(lambda: runs_of_today(instance), 180, "the request for the day\n" + made.logs())
        assert status(instance, history) == dg.DagsterRunStatus.SUCCESS
        wait_until(lambda: all(run.is_finished for run in runs_of_today(instance)), 120, "the run's end")
        assert [run.status for run in runs_of_today(instance)] == [dg.DagsterRunStatus.SUCCESS]
        for table in FORECASTS:
            days = made.rows(f"SELECT DISTINCT as_of_date::DATE::VARCHAR FROM {table.table}")
            assert days == [(TODAY.isoformat(),)], table.table
