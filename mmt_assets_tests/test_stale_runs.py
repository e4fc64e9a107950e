"""Runs that died without a word are failed; runs that live are left alone."""

import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psutil
import pytest
from dagster._core.events import EngineEventData

from mmt_assets.assets.run_once import DAILY_POOL
from mmt_assets.job_names import CONCERT_JOB, DAILY_JOB
from mmt_assets.jobs import retry_when_worthwhile
from mmt_assets.resources.compute import RetryableFailure
from mmt_assets.sensors.stale_runs import fail_stale_runs, stale_run_sensor
from mmt_assets.settings import Settings
from mmt_assets.warehouse import ContractError, WarehouseBusyError, WarehouseError

SETTINGS = Settings.model_validate({"heartbeat_seconds": 1, "stale_after_heartbeats": 10})
RETRIES = {"run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}}


@pytest.fixture
def instance(tmp_path: Any) -> Iterable[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=RETRIES) as made:
        yield made


def start_run(instance: dg.DagsterInstance, pid: int | None = None, job_name: str = DAILY_JOB) -> dg.DagsterRun:
    """A run at work, with the event in which Dagster notes the process."""

    @dg.job(name=job_name)
    def job() -> None: ...

    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    data = EngineEventData({"pid": dg.MetadataValue.text(str(pid))} if pid else {})
    instance.report_engine_event("Started process for run", run, data)
    return run


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def ended_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.mark.parametrize("job_name", [DAILY_JOB, CONCERT_JOB, "__ASSET_JOB"])
def test_a_run_whose_process_is_gone_is_failed_and_will_be_retried(instance: Any, job_name: str) -> None:
    run = start_run(instance, ended_pid(), job_name)
    [told] = fail_stale_runs(instance, SETTINGS, datetime.now(UTC))
    assert "is gone" in told
    assert status(instance, run) == dg.DagsterRunStatus.FAILURE
    assert instance.get_run_by_id(run.run_id).tags["dagster/will_retry"] == "true"
    assert fail_stale_runs(instance, SETTINGS, datetime.now(UTC)) == []


def test_a_process_that_nobody_has_waited_for_counts_as_gone(instance: Any) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    run = start_run(instance, process.pid)
    fail_stale_runs(instance, SETTINGS, datetime.now(UTC))
    process.wait()
    assert status(instance, run) == dg.DagsterRunStatus.FAILURE


def test_a_process_that_has_only_inherited_the_number_does_not_count(
    instance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start_run(instance, os.getpid())
    younger = datetime.now(UTC).timestamp() + 60
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: younger)
    fail_stale_runs(instance, SETTINGS, datetime.now(UTC))
    assert status(instance, run) == dg.DagsterRunStatus.FAILURE


def test_a_run_that_lives_is_left_alone_until_it_has_been_silent_for_too_long(instance: Any) -> None:
    run = start_run(instance, os.getpid())
    now = datetime.now(UTC)
    assert fail_stale_runs(instance, SETTINGS, now + timedelta(seconds=9)) == []
    assert status(instance, run) == dg.DagsterRunStatus.STARTED
    [told] = fail_stale_runs(instance, SETTINGS, now + timedelta(seconds=11))
    assert "more than 10 s ago" in told
    assert status(instance, run) == dg.DagsterRunStatus.FAILURE


def test_in_the_cloud_a_process_number_says_nothing_about_a_run_elsewhere(instance: Any) -> None:
    run = start_run(instance, ended_pid())
    cloud = SETTINGS.model_copy(update={"env": "gcp"})
    assert fail_stale_runs(instance, cloud, datetime.now(UTC)) == []
    assert status(instance, run) == dg.DagsterRunStatus.STARTED


def test_runs_of_other_projects_are_left_alone(instance: Any) -> None:
    run = start_run(instance, ended_pid(), "somebody_elses_job")
    assert fail_stale_runs(instance, SETTINGS, datetime.now(UTC)) == []
    assert status(instance, run) == dg.DagsterRunStatus.STARTED


def test_the_sensor_tells_what_it_failed_and_sets_the_pool_limit(instance: Any) -> None:
    run = start_run(instance, ended_pid())
    with dg.build_sensor_context(instance=instance) as context:
        told = stale_run_sensor(SETTINGS).evaluate_tick(context).skip_message
    assert run.run_id in str(told)
    assert [(pool.name, pool.limit) for pool in instance.event_log_storage.get_pool_limits()] == [(DAILY_POOL, 1)]


@pytest.mark.parametrize(
    ("error", "will_retry"),
    [
        (WarehouseBusyError("held"), "true"),
        (RetryableFailure("the machine was preempted"), "true"),
        (WarehouseError("gone"), "false"),
        (ContractError("two rows with one key"), "false"),
        (dg.Failure("not materialised"), "false"),
    ],
)
def test_only_a_busy_warehouse_or_a_lost_machine_is_worth_a_retry(
    instance: Any, error: Exception, will_retry: str
) -> None:
    @dg.op
    def write() -> None:
        raise error

    @dg.job(hooks={retry_when_worthwhile}, executor_def=dg.in_process_executor)
    def job() -> None:
        write()

    result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert instance.get_run_by_id(result.run_id).tags["dagster/will_retry"] == will_retry
