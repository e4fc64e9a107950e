"""The processes of a history, each forked and killed for good."""

import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

# Loaded before anything is forked: Google's clients take seconds, which each process would spend again.
from mmt_assets.resources import server_session  # noqa: F401
from mmt_assets.resources.compute_engine import ComputeEngineServer
from mmt_assets.sensors.vm_reaper import vm_reaper_sensor
from mmt_assets.sensors.vm_release import vm_release_sensor
from mmt_assets.settings import Settings
from mmt_assets.worker.job import DuckDBAddress, WorkerJob

WORKER = "mmt_assets_tests.machine_histories.worker"
REAPER_SECONDS, RELEASE_SECONDS, CODE_SERVER_SECONDS = 5.0, 0.8, 0.5
JOB = "history"


class Home:
    """A history's folder: Dagster's instance, what the worker does, and one log of all processes.

    Attributes:
        folder: The folder.
        settings: Settings.
        git_ref: Commit that machines check out.
    """

    def __init__(self, folder: Path, settings: Settings, git_ref: str) -> None:
        self.folder = folder
        self.settings = settings
        self.git_ref = git_ref

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.folder / "dagster"))

    def note(self, who: str, what: str, **facts: Any) -> None:
        line = json.dumps({"at": time.time(), "who": who, "what": what, "pid": os.getpid(), **facts})
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(line + "\n")

    def log(self) -> list[dict[str, Any]]:
        path = self.folder / "log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def job(self) -> dg.JobDefinition:
        """One asset that the analysis server makes."""
        compute = ComputeEngineServer.from_settings(self.settings).model_copy(update={"module": WORKER})
        work = WorkerJob(
            warehouse=DuckDBAddress(path=str(self.folder), busy_timeout=1),
            timezone="UTC",
            as_of_dates=(date(2026, 1, 1),),
            run_id="unused",
            run_created_at=datetime(2026, 1, 2, tzinfo=UTC),
            commit=self.git_ref,
            lock_hash="none",
            exports=None,
        )

        @dg.asset
        def heavy(context: dg.AssetExecutionContext) -> Iterator[Any]:
            yield from compute.run(context, work).results

        job = dg.define_asset_job(JOB, [heavy], executor_def=dg.in_process_executor)
        return dg.Definitions(assets=[heavy], jobs=[job]).resolve_job_def(JOB)


def fork(home: Home, name: str, body: Callable[[], None]) -> int:
    """Start a process of the history; what it prints goes to a file of its name."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        # A group of its own: what is meant for one process reaches no other.
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        output = os.open(home.folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        body()
        code = 0
    except BaseException:  # noqa: BLE001 - a fork must never come back into its parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_worker(home: Home, run_id: str) -> None:
    """The run's own process."""
    logging.disable(logging.CRITICAL)
    home.note("run", "begins")
    with home.instance() as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        # As Dagster's own run process: its return does not say how the run ended, the instance does.
        execute_run(InMemoryJob(home.job()), run, instance, raise_on_error=False)
    home.note("run", "ends")


def code_server(home: Home, run_id: str, *, starts_run: bool) -> None:
    """Starts the run and sees its death, as Dagster's code server does for runs that are its children."""
    child = fork(home, "run", lambda: run_worker(home, run_id)) if starts_run else 0
    if child:
        home.note("code_server", "started run", child=child)
    with home.instance() as instance:
        while True:
            time.sleep(CODE_SERVER_SECONDS)
            if child and os.waitpid(child, os.WNOHANG)[0]:
                child = 0
                run = instance.get_run_by_id(run_id)
                if run and not run.is_finished:
                    instance.report_run_failed(run, "the run's process ended unexpectedly")
                    home.note("code_server", "saw the run's death")


def daemon(home: Home, is_code_server_alive: Callable[[], bool]) -> None:
    """Ticks the real sensors, which are evaluated in the code server: without it there are no ticks."""
    logging.disable(logging.CRITICAL)
    release, reaper = vm_release_sensor(home.settings), vm_reaper_sensor(home.settings)
    next_release = next_reap = 0.0
    cursor = None
    cursor_file = home.folder / "release.cursor"
    with home.instance() as instance:
        while True:
            now = time.monotonic()
            if is_code_server_alive() and now >= next_release:
                next_release = now + RELEASE_SECONDS
                cursor = cursor_file.read_text() if cursor_file.exists() else None
                if (told := _tick(home, instance, release, cursor)) and told.cursor:
                    cursor_file.write_text(told.cursor)
            if is_code_server_alive() and now >= next_reap:
                next_reap = now + REAPER_SECONDS
                _tick(home, instance, reaper, None)
            time.sleep(0.1)


def _tick(home: Home, instance: dg.DagsterInstance, sensor: dg.SensorDefinition, cursor: str | None) -> Any:
    began = time.time()
    try:
        context = dg.build_sensor_context(instance=instance, cursor=cursor, sensor_name=sensor.name)
        told = sensor.evaluate_tick(context)
    except Exception as error:  # noqa: BLE001 - a tick that fails is shown by Dagster, the next one comes
        home.note("daemon", "tick failed", sensor=sensor.name, error=f"{type(error).__name__}: {error}")
        return None
    if told.skip_message and "/" in told.skip_message:
        home.note("daemon", "tick", sensor=sensor.name, told=told.skip_message, began=began)
    return told
