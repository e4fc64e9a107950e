"""The analysis server for tests: the resource against the servers of Compute Engine and Cloud Storage."""

import secrets
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mmt_assets.gcp.compute_engine import ComputeEngine
from mmt_assets.resources.compute_engine import ComputeEngineServer, open_client
from mmt_assets.settings import Settings
from mmt_assets.worker.job import DuckDBAddress, WorkerJob
from mmt_assets_tests.servers.compute_engine.fixture import ZONES, default_metadata
from mmt_assets_tests.servers.compute_engine.fixture import ComputeEngineServer as CloudServer
from mmt_assets_tests.servers.gcs import GcsServer

SCRIPTED = "mmt_assets_tests.servers.scripted_worker"


class AnalysisServer:
    """A project with a template, a bucket, and a folder for what scripted workers do.

    Attributes:
        cloud: The Compute Engine of this test.
        folder: Where a scripted worker finds its script.
        variables: Settings, as variables.
    """

    def __init__(self, cloud: CloudServer, gcs: GcsServer, folder: Path) -> None:
        self.cloud = cloud
        self.folder = folder
        bucket = gcs.bucket(f"{cloud.project}-mmt-pipes")
        self.bucket = bucket
        self.variables = {
            "MMT_ENV": "gcp",
            "MMT_PROJECT": cloud.project,
            "MMT_ZONES": ",".join(ZONES),
            "MMT_VM_TEMPLATE": cloud.add_template(),
            "MMT_VM_SPOT": "false",
            "MMT_VM_PRICE_PER_SECOND": "0.0001",
            "MMT_VM_SPOT_PRICE_PER_SECOND": "0.00003",
            "MMT_VM_GONE_SECONDS": "20",
            "MMT_GIT_URL": cloud.git_url,
            "MMT_GIT_REF": cloud.git_ref,
            "MMT_COMPUTE_ENDPOINT": cloud.endpoint,
            "MMT_STORAGE_ENDPOINT": gcs.endpoint,
            "MMT_HEARTBEAT_SECONDS": "1",
            "MMT_FAN_HASH_KEY": "tests",
        }

    def settings(self, **changed: str) -> Settings:
        return Settings.from_env(
            {**self.variables, **{f"MMT_{name.upper()}": value for name, value in changed.items()}}
        )

    def client(self) -> ComputeEngine:
        return open_client(self.settings())

    def script(self, *lines: str) -> None:
        (self.folder / "script").write_text("\n".join(lines))

    def add_named_machine(self, name: str) -> None:
        """A machine that infrastructure code made, stopped."""
        self.cloud.add_instance(ZONES[0], name, labels={"role": "analysis"}, metadata=default_metadata())

    def job(self, concert_id: str | None = None, commit: str = "none") -> WorkerJob:
        return WorkerJob(
            warehouse=DuckDBAddress(path=str(self.folder), busy_timeout=1),
            timezone="UTC",
            as_of_dates=(date(2026, 1, 1),),
            concert_id=concert_id,
            run_id="run",
            run_created_at=datetime(2026, 1, 2, tzinfo=UTC),
            commit=commit,
            lock_hash="none",
            exports=None,
        )

    def resource(self, module: str = SCRIPTED, **changed: str) -> ComputeEngineServer:
        made = ComputeEngineServer.from_settings(self.settings(**changed))
        return made.model_copy(update={"module": module})

    def run(
        self, instance: dg.DagsterInstance, *, commit: str = "none", context_bytes: int = 0, **changed: str
    ) -> dg.ExecuteInProcessResult:
        """A run whose only asset is made by the scripted worker; its context may be made large."""
        compute, job = self.resource(**changed), self.job(commit=secrets.token_hex(context_bytes // 2) or commit)

        @dg.asset
        def heavy(context: dg.AssetExecutionContext) -> Iterator[Any]:
            yield from compute.run(context, job).results

        return dg.materialize([heavy], instance=instance, raise_on_error=False)

    def calls(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.cloud.history("call") if event["method"] == name]

    def assert_nothing_is_left(self) -> None:
        left = {place: found["status"] for place, found in self.cloud.instances().items()}
        assert left == {}


def failure(result: dg.ExecuteInProcessResult) -> tuple[str, dict[str, str]]:
    """Description and metadata of the one step that failed."""
    [event] = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None, event.step_failure_data.error
    return str(data.description), {key: str(value.value) for key, value in data.metadata.items()}


def messages(instance: dg.DagsterInstance, run_id: str) -> list[tuple[float, str]]:
    """When what was logged in a run."""
    return [(entry.timestamp, entry.user_message or entry.message) for entry in instance.all_logs(run_id)]


@pytest.fixture
def analysis_server(compute_engine: CloudServer, gcs: GcsServer, tmp_path: Path) -> AnalysisServer:
    folder = tmp_path / "work"
    folder.mkdir()
    return AnalysisServer(compute_engine, gcs, folder)


@pytest.fixture
def cloud_instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made
