"""What ties a worker to its run: heartbeats, and the check before the tables are written."""

import os
import threading
import time
from pathlib import Path

import dagster as dg
import psutil
import pytest

from mmt_assets.resources import LocalProcess
from mmt_assets.worker.job import WorkerJob
from mmt_assets.worker.link import RunLink, RunNotCurrentError
from mmt_assets_tests.servers.dagster_deployment import wait_until
from mmt_assets_tests.worker_jobs import make_job


def run(instance: dg.DagsterInstance, job: WorkerJob) -> dg.ExecuteInProcessResult:
    @dg.asset
    def heavy(context: dg.AssetExecutionContext) -> None:
        LocalProcess(heartbeat_seconds=0.2).run(context, job)

    return dg.materialize([heavy], instance=instance, raise_on_error=False)


def heartbeats(instance: dg.DagsterInstance) -> list[str]:
    runs = instance.get_runs()
    entries = instance.all_logs(runs[0].run_id) if runs else []
    return [entry.message for entry in entries if "at work for" in entry.message]


def error_message(result: dg.ExecuteInProcessResult) -> str:
    [event] = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data
    return f"{data.user_failure_data and data.user_failure_data.description} {data.error and data.error.to_string()}"


def test_a_run_says_that_it_lives_while_the_worker_works(held_warehouse: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance, make_job(held_warehouse, busy_timeout=1))
        assert not result.success
        assert "WarehouseBusyError" in error_message(result)
        assert len(heartbeats(instance)) >= 3


def test_a_run_that_was_ended_from_outside_stops_its_worker(held_warehouse: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:

        def end_run() -> None:
            wait_until(lambda: bool(heartbeats(instance)), 30, "a heartbeat")
            instance.report_run_failed(instance.get_runs()[0])

        other = threading.Thread(target=end_run)
        other.start()
        result = run(instance, make_job(held_warehouse, busy_timeout=60))
        other.join()
        assert "was ended from outside (failure)" in error_message(result)
        workers = [c for c in psutil.Process(os.getpid()).children() if "mmt_assets.worker" in " ".join(c.cmdline())]
        assert workers == []


def test_a_worker_whose_run_is_silent_refuses_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    link = RunLink(heartbeat_seconds=60)
    now[0] += 180
    link.require_current()
    now[0] += 1
    with pytest.raises(RunNotCurrentError, match="silent for 181 s"):
        link.require_current()
