"""A whole day on a Dataproc cluster: Google's client over a socket, Pipes over Cloud Storage, a process as the job."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mmt_assets.build import build_definitions
from mmt_assets.resources.dataproc import DataprocCluster
from mmt_assets.settings import Settings
from mmt_assets.worker.job import DuckDBAddress, WorkerJob
from mmt_assets_tests.servers.analysis_server import SCRIPTED, failure, messages
from mmt_assets_tests.servers.dagster_deployment import end_tree, free_port, is_listening, wait_until
from mmt_assets_tests.servers.gcs import GcsServer


class Cluster:
    """A cluster whose jobs are scripted workers."""

    def __init__(self, endpoint: str, gcs: GcsServer, folder: Path) -> None:
        self.folder = folder
        self.variables = {
            "MMT_ENV": "gcp",
            "MMT_PROJECT": "mmt-test",
            "MMT_DATAPROC_CLUSTER": "forecasts",
            "MMT_DATAPROC_ENDPOINT": endpoint,
            "MMT_STORAGE_ENDPOINT": gcs.endpoint,
            "MMT_PIPES_BUCKET": gcs.bucket("dataproc-pipes").name,
            "MMT_HEARTBEAT_SECONDS": "0.5",
            "MMT_FAN_HASH_KEY": "tests",
        }

    def script(self, *lines: str) -> None:
        (self.folder / "script").write_text("\n".join(lines))

    def run(self, instance: dg.DagsterInstance, **changed: str) -> dg.ExecuteInProcessResult:
        compute = DataprocCluster.from_settings(Settings.from_env(self.variables | changed))
        compute = compute.model_copy(update={"poll_seconds": 0.2})
        job = WorkerJob.model_validate(
            {
                "warehouse": DuckDBAddress(path=str(self.folder), busy_timeout=1),
                "timezone": "UTC",
                "as_of_dates": ["2026-01-01"],
                "run_id": "run",
                "run_created_at": "2026-01-02T00:00:00Z",
                "commit": "none",
                "lock_hash": "none",
                "exports": "/nowhere",
            }
        )

        @dg.asset
        def heavy(context: dg.AssetExecutionContext) -> Iterator[Any]:
            yield from compute.run(context, job).results

        return dg.materialize([heavy], instance=instance, raise_on_error=False)


@pytest.fixture
def cluster(gcs: GcsServer, tmp_path: Path) -> Iterator[Cluster]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "mmt_assets_tests.servers.dataproc", str(port), SCRIPTED])
    try:
        wait_until(lambda: is_listening(port), 60, "the start of Dataproc's server")
        yield Cluster(f"http://127.0.0.1:{port}", gcs, tmp_path)
    finally:
        end_tree(process)


def test_a_job_reports_what_it_made_and_sees_its_run(cluster: Cluster, cloud_instance: dg.DagsterInstance) -> None:
    cluster.script("log at work on the cluster", "sleep 1.2", "require-current ", "report 7")
    result = cluster.run(cloud_instance)
    assert result.success
    [made] = result.asset_materializations_for_node("heavy")
    assert made.metadata["rows"].value == 7
    said = [text for _, text in messages(cloud_instance, result.run_id)]
    assert any("at work on the cluster" in text for text in said)
    assert any("The run has been at work for" in text for text in said)


def test_a_workers_exception_fails_the_step_with_its_traceback(
    cluster: Cluster, cloud_instance: dg.DagsterInstance
) -> None:
    cluster.script("fail the input is wrong")
    told, metadata = failure(cluster.run(cloud_instance))
    assert "the input is wrong" in told
    assert "Traceback" in metadata["remote_traceback"] or "RuntimeError" in metadata["remote_traceback"]


def test_a_job_that_ends_without_a_word_fails_the_step(cluster: Cluster, cloud_instance: dg.DagsterInstance) -> None:
    cluster.script("exit 3")
    told, _ = failure(cluster.run(cloud_instance))
    assert "exit code 3" in told


def test_a_cluster_that_does_not_answer_is_a_failure_that_is_retried(
    cluster: Cluster, cloud_instance: dg.DagsterInstance
) -> None:
    told, _ = failure(cluster.run(cloud_instance, MMT_DATAPROC_ENDPOINT="http://127.0.0.1:9"))
    assert "MMT_DATAPROC_CLUSTER" in told


def test_a_run_that_is_ended_from_outside_lets_its_job_write_nothing(
    cluster: Cluster, cloud_instance: dg.DagsterInstance
) -> None:
    cluster.script("log begun", "wait ended", "require-current ", "report 1")
    done: list[dg.ExecuteInProcessResult] = []
    thread = threading.Thread(target=lambda: done.append(cluster.run(cloud_instance)))
    thread.start()

    def begun() -> dg.DagsterRun | None:
        runs = cloud_instance.get_runs()
        found = runs[0] if runs else None
        return found if found and any("begun" in text for _, text in messages(cloud_instance, found.run_id)) else None

    run = wait_until(begun, 120, "the job's first word")
    cloud_instance.report_run_failed(run)
    # Three heartbeats without a sign, and the worker's run is not current any more.
    waited_from = time.monotonic()
    wait_until(lambda: time.monotonic() - waited_from > 3, 10, "three heartbeats")
    (cluster.folder / "ended").touch()
    thread.join(120)
    told, _ = failure(done[0])
    assert "RunNotCurrentError" in told


def test_with_a_cluster_whole_days_go_there_and_one_concert_stays_beside_the_run(cluster: Cluster) -> None:
    definitions = build_definitions(Settings.from_env(cluster.variables))
    compute = (definitions.resources or {})["compute"]
    assert isinstance(compute.server, DataprocCluster)
    assert compute.beside is not None
