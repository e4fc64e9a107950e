"""The production instance on a real PostgreSQL: queued runs outlive the end of everything."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent
from dagster._core.utils import make_new_run_id

from mmt_assets.job_names import DAILY_JOB
from mmt_assets_tests.servers.dagster_deployment import Deployment, wait_until
from mmt_assets_tests.servers.gcs import GcsServer
from mmt_assets_tests.servers.postgres import PostgresServer

ROOT = Path(__file__).parents[2]
# So many are launched as the UI does it, which takes a tenth of a second; the others are copies of the first.
LAUNCHED = 50
_SUCCESS = dg.DagsterRunStatus.SUCCESS


@pytest.fixture
def production(
    tmp_path: Path, postgres: PostgresServer, gcs: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deployment]:
    """infra/host/dagster.yaml as it is, with the variables that the host gives it."""
    gcs.bucket("mmt-logs")
    variables = {
        "DAGSTER_POSTGRES_URL": postgres.url,
        "DAGSTER_LOGS_BUCKET": "mmt-logs",
        "GOOGLE_CLOUD_PROJECT": "mmt-test",
        **gcs.environment,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    shutil.copy(ROOT / "infra/host/dagster.yaml", tmp_path)
    made = Deployment(tmp_path)
    made.module = "mmt_assets_tests.servers.empty_day"
    made.environment |= {**variables, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    try:
        yield made
    finally:
        made.down()


def queue_copies(instance: dg.DagsterInstance, run_id: str, count: int) -> list[str]:
    """Put copies of a queued run into the queue, as the coordinator does; returns their ids."""
    run = instance.get_run_by_id(run_id)
    assert run
    copies = [run._replace(run_id=make_new_run_id(), status=dg.DagsterRunStatus.NOT_STARTED) for _ in range(count)]
    for copy in copies:
        instance.add_run(copy)
        instance.report_dagster_event(DagsterEvent.job_enqueue(copy), run_id=copy.run_id)
    return [copy.run_id for copy in copies]


def runs_by_status(instance: dg.DagsterInstance) -> Counter[dg.DagsterRunStatus]:
    return Counter(run.status for run in instance.get_runs())


def wait_for_successes(instance: dg.DagsterInstance, count: int, seconds: float, made: Deployment) -> None:
    def enough() -> bool:
        return instance.get_runs_count(dg.RunsFilter(statuses=[_SUCCESS])) >= count

    wait_until(enough, seconds, f"{count} successes\n{made.logs()}")


def assert_nothing_lost_or_doubled(instance: dg.DagsterInstance, launched: list[str]) -> None:
    runs = {run.run_id: run for run in instance.get_runs()}
    assert set(launched) <= runs.keys()
    # What is not among the launched ones is a retry of one that died.
    retried = Counter(run.parent_run_id for run_id, run in runs.items() if run_id not in set(launched))
    for parent, retries in retried.items():
        assert parent in runs
        assert runs[parent].status == dg.DagsterRunStatus.FAILURE
        assert retries == 1
    for run in runs.values():
        if run.status == _SUCCESS:
            starts = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.RUN_START).records
            assert len(starts) == 1, run.run_id


# The waits are bounded; on a busy machine they add up.
@pytest.mark.parametrize(
    ("queued", "to_finish"),
    [
        # Each is a process that starts, which is all that this takes its time for.
        pytest.param(200, 15, marks=pytest.mark.timeout(1200)),
        pytest.param(1000, 1000, marks=[pytest.mark.chaos, pytest.mark.timeout(6000)]),
    ],
)
def test_queued_runs_outlive_the_end_of_everything(
    production: Deployment, postgres: PostgresServer, queued: int, to_finish: int
) -> None:
    with dg.DagsterInstance.from_config(str(production.folder)) as instance:
        production.start_code_server()
        asked = production.launch_all(instance, [dg.RunRequest(job_name=DAILY_JOB)] * LAUNCHED)
        launched = [*asked, *queue_copies(instance, asked[0], queued - LAUNCHED)]
        production.start_daemon()
        wait_for_successes(instance, 5, 400, production)
    production.down()
    postgres.stop()
    postgres.start()
    with dg.DagsterInstance.from_config(str(production.folder)) as instance:
        kept = runs_by_status(instance)
        assert kept.total() == queued
        assert kept[dg.DagsterRunStatus.QUEUED] > 0
        production.up()
        wait_for_successes(instance, to_finish, 600 if to_finish < queued else 5400, production)
        assert_nothing_lost_or_doubled(instance, launched)
