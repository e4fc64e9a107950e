"""A code location for tests of real run processes: one asset, made on the analysis server by the scripted worker."""

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from mmt_assets.job_names import DAILY_JOB
from mmt_assets.resources.compute_engine import ComputeEngineServer
from mmt_assets.settings import Settings
from mmt_assets.worker.job import DuckDBAddress, WorkerJob

# Folder of the script that the worker follows.
FOLDER = "SCRIPTED_WORKER_FOLDER"
_settings = Settings.from_env()
_server = ComputeEngineServer.from_settings(_settings).model_copy(
    update={"module": "mmt_assets_tests.servers.scripted_worker"}
)


@dg.asset
def heavy(context: dg.AssetExecutionContext) -> Iterator[Any]:
    job = WorkerJob(
        warehouse=DuckDBAddress(path=os.environ[FOLDER], busy_timeout=1),
        timezone="UTC",
        as_of_dates=(date(2026, 1, 1),),
        run_id=context.run.run_id,
        run_created_at=datetime.now(UTC),
        commit="none",
        lock_hash="none",
        exports=None,
    )
    yield from _server.run(context, job).results


defs = dg.Definitions(
    assets=[heavy],
    jobs=[dg.define_asset_job(DAILY_JOB, selection=[heavy], executor_def=dg.in_process_executor)],
)
