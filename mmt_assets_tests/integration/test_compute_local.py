"""The local analysis server: a real subprocess that reports, fails, is killed, and dies with its run."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import dagster as dg
import psutil
import pytest

from mmt_assets.resources import LocalProcess, compute
from mmt_assets.resources.local_worker import LocalWorker
from mmt_assets.worker.job import WorkerJob
from mmt_assets_tests.servers.dagster_deployment import wait_until
from mmt_assets_tests.worker_jobs import make_job

WORKER = "mmt_assets.worker"


def workers_of(pid: int) -> list[psutil.Process]:
    found = []
    # Each may end while it is looked at.
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                found += [child] if WORKER in child.cmdline() else []
    return found


def run(compute: LocalProcess, job: WorkerJob) -> dg.ExecuteInProcessResult:
    @dg.asset
    def heavy(context: dg.AssetExecutionContext) -> None:
        compute.run(context, job)

    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize([heavy], instance=instance, raise_on_error=False)


def failure(result: dg.ExecuteInProcessResult) -> tuple[str, dict[str, str]]:
    [event] = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None, event.step_failure_data.error
    return str(data.description), {key: str(value.value) for key, value in data.metadata.items()}


def test_a_remote_exception_fails_the_step_with_the_remote_traceback(tmp_path: Path) -> None:
    message, metadata = failure(run(LocalProcess(), make_job(tmp_path / "missing.duckdb")))
    assert "WarehouseError" in message
    assert "does not exist" in message
    assert "work.py" in metadata["remote_traceback"]


def test_a_killed_worker_fails_the_step_and_says_so(held_warehouse: Path) -> None:
    def kill_worker() -> None:
        wait_until(lambda: bool(workers_of(os.getpid())), 30, "the worker's start")
        for worker in workers_of(os.getpid()):
            worker.kill()

    killer = threading.Thread(target=kill_worker)
    killer.start()
    message, _ = failure(run(LocalProcess(), make_job(held_warehouse)))
    killer.join()
    assert "killed by SIGKILL" in message


def test_a_worker_that_takes_too_long_is_ended(held_warehouse: Path) -> None:
    message, _ = failure(run(LocalProcess(timeout_seconds=2), make_job(held_warehouse)))
    assert "MMT_WORKER_TIMEOUT_SECONDS" in message
    assert workers_of(os.getpid()) == []


def run_with_early_worker(job: WorkerJob | None, meanwhile: Callable[[], None]) -> dg.ExecuteInProcessResult:
    """A run whose worker starts with it; its step comes when `meanwhile` is over, and has no work without a job."""

    @dg.asset
    def heavy(context: dg.AssetExecutionContext, compute: LocalProcess) -> None:
        meanwhile()
        if job is not None:
            compute.run(context, job)

    with dg.DagsterInstance.ephemeral() as instance:
        resources = {"compute": LocalProcess(starts_with_run=True)}
        return dg.materialize([heavy], instance=instance, resources=resources, raise_on_error=False)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Process ids of the workers that runs of this process start."""
    pids: list[int] = []

    def noted(heartbeat_seconds: float) -> LocalWorker:
        worker = LocalWorker(heartbeat_seconds)
        pids.append(worker.pid)
        return worker

    monkeypatch.setattr(compute, "LocalWorker", noted)
    return pids


def test_a_worker_that_started_with_the_run_does_its_work(tmp_path: Path, started: list[int]) -> None:
    early: list[psutil.Process] = []
    result = run_with_early_worker(make_job(tmp_path / "missing.duckdb"), lambda: early.extend(workers_of(os.getpid())))
    message, metadata = failure(result)
    assert "does not exist" in message
    assert "work.py" in metadata["remote_traceback"]
    assert [worker.pid for worker in early] == started, "there was one, and no other one after it"
    assert not early[0].is_running()


def test_a_worker_that_started_with_the_run_and_got_no_work_ends_with_it(started: list[int]) -> None:
    early: list[psutil.Process] = []
    assert run_with_early_worker(None, lambda: early.extend(workers_of(os.getpid()))).success
    assert [worker.pid for worker in early] == started
    assert not early[0].is_running()


def test_a_worker_that_died_before_its_work_came_is_replaced(
    tmp_path: Path, started: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    def kill_worker() -> None:
        [worker] = workers_of(os.getpid())
        worker.kill()
        wait_until(lambda: worker.status() == psutil.STATUS_ZOMBIE, 10, "the worker's death")

    message, _ = failure(run_with_early_worker(make_job(tmp_path / "missing.duckdb"), kill_worker))
    assert "does not exist" in message
    assert "started with the run was killed by SIGKILL: another one is started" in capfd.readouterr().err
    assert len(started) == 2


EARLY_SCRIPT = """
    import dagster as dg
    from mmt_assets.resources import LocalProcess
    from mmt_assets.worker.job import WorkerJob

    @dg.asset
    def heavy(context: dg.AssetExecutionContext, compute: LocalProcess) -> None:
        compute.run(context, WorkerJob.model_validate_json({job!r}))

    with dg.DagsterInstance.local_temp({home!r}) as instance:
        resources = {{"compute": LocalProcess(starts_with_run=True)}}
        assert not dg.materialize([heavy], instance=instance, resources=resources, raise_on_error=False).success
"""


# In a process of its own: pytest's own capturing would stand between Dagster and the descriptors.
def test_the_step_s_stderr_has_the_output_of_a_worker_that_started_with_the_run(tmp_path: Path) -> None:
    job = make_job(tmp_path / "missing.duckdb").model_dump_json()
    script = textwrap.dedent(EARLY_SCRIPT).format(job=job, home=str(tmp_path))
    subprocess.run([sys.executable, "-c", script], stderr=subprocess.DEVNULL, check=True, timeout=120)
    [kept] = tmp_path.rglob("*.err")
    # What the run tells of the error has no such frame: only the worker, as `python -m`, prints it.
    assert "runpy" in kept.read_text()


RUN_SCRIPT = """
    import dagster as dg
    from mmt_assets.resources import LocalProcess
    from mmt_assets.worker.job import WorkerJob

    @dg.asset
    def heavy(context: dg.AssetExecutionContext) -> None:
        LocalProcess().run(context, WorkerJob.model_validate_json({job!r}))

    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([heavy], instance=instance)
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_worker_does_not_outlive_its_run(held_warehouse: Path, sent: signal.Signals) -> None:
    script = textwrap.dedent(RUN_SCRIPT).format(job=make_job(held_warehouse).model_dump_json())
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: bool(workers_of(process.pid)), 60, "the worker's start")
        workers = workers_of(process.pid)
        process.send_signal(sent)
        process.wait(30)
        wait_until(lambda: not any(worker.is_running() for worker in workers), 15, "the worker's end")
    finally:
        process.kill()
        process.wait()
