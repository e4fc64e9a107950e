"""The whole daily job and an on-demand forecast on BigQuery, held row for row against DuckDB."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from mmt_assets.assets.catalog import asset_key
from mmt_assets.build import build_definitions
from mmt_assets.contracts import CONCERT_FORECAST, FEATURE_TABLES, FORECAST_TABLES, PUBLISHED_OUTLOOK, RAW_TABLES
from mmt_assets.jobs import CONCERT_JOB, DAILY_JOB
from mmt_assets.partitions import CONCERTS
from mmt_assets.resources import LocalProcess
from mmt_assets.resources.warehouse import BYTES_BILLED_TAG, SLOT_SECONDS_TAG
from mmt_assets.settings import Settings
from mmt_assets.warehouse import DuckDBWarehouse, Slice, Statement
from mmt_assets.warehouse.compare import compare_table
from mmt_assets_tests.servers.bigquery import BigQueryPlace, fill_source
from mmt_assets_tests.small_world import FIRST, LAST, known_by, world

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
GROUPS = ("raw", "features", "forecasts")
EVE = LAST - timedelta(days=1)
ON_DEMAND = "c12"


def make_days(settings: Settings) -> dg.DagsterInstance:
    """The history until the eve, then the last day with its forecasts, then one concert on demand."""
    beside = LocalProcess(timeout_seconds=600)
    definitions = build_definitions(settings, resources={"compute": beside})
    instance = dg.DagsterInstance.ephemeral()
    daily = definitions.resolve_job_def(DAILY_JOB)
    keys = [key for key in daily.asset_layer.executable_asset_keys if key.path[0] in GROUPS]
    history = [key for key in keys if key.path[0] != "forecasts"]
    for first, last, assets in ((FIRST, EVE, history), (LAST, LAST, keys)):
        result = daily.execute_in_process(
            instance=instance,
            asset_selection=assets,
            tags={
                "dagster/asset_partition_range_start": str(first),
                "dagster/asset_partition_range_end": str(last),
            },
            run_config=QUIET,
        )
        assert result.success
    instance.add_dynamic_partitions(str(CONCERTS.name), [ON_DEMAND])
    concert = definitions.resolve_job_def(CONCERT_JOB)
    assert concert.execute_in_process(instance=instance, partition_key=ON_DEMAND, run_config=QUIET).success
    return instance


@pytest.mark.timeout(1200)
def test_the_daily_job_gives_the_same_rows_on_both_engines(
    new_pipeline: Callable[..., Any], bigquery_place: BigQueryPlace
) -> None:
    pipeline = new_pipeline(first_day=FIRST, last_day=LAST, worker_processes=1)
    pipeline.put(**known_by(world(pipeline), LAST))
    shared = {"first_day": FIRST, "last_day": LAST, "reload_days": 2, "worker_processes": 1}
    make_days(pipeline.settings)
    cloud = Settings.model_validate(
        {
            **shared,
            "env": "gcp",
            "source": fill_source(bigquery_place, pipeline.source),
            "home": pipeline.settings.home / "cloud",
            "board": str(pipeline.settings.home / "cloud" / "board.html"),
            "fan_hash_key": pipeline.settings.hash_key(),
            **{name.removeprefix("MMT_").lower(): value for name, value in bigquery_place.settings().items()},
        }
    )
    instance = make_days(cloud)

    differing = {}
    with (
        DuckDBWarehouse(pipeline.settings.warehouse_path).open(read_only=True) as local,
        bigquery_place.warehouse().open(read_only=True) as remote,
    ):
        for contract in (*RAW_TABLES, *FEATURE_TABLES, *FORECAST_TABLES):
            found = compare_table(local, remote, contract, Slice())
            # Who published is part of its key.
            is_equal = found.rows[0] == found.rows[1] if contract is PUBLISHED_OUTLOOK else found.is_equal
            if not is_equal:
                differing[contract.table] = found.describe()
        shown = remote.query(Statement("SELECT DISTINCT concert_id FROM forecasts.concert_forecast"))
        left = bigquery_place.server.client().list_tables(f"{bigquery_place.project}.{bigquery_place.prefix}staging")
        staged = [table.table_id for table in left if not table.table_id.startswith(remote.jobs.session)]
    assert differing == {}
    assert ON_DEMAND in set(shown["concert_id"])
    assert staged == [], "sessions delete their staging tables"

    runs = instance.get_runs()
    assert all(int(run.tags[BYTES_BILLED_TAG]) > 0 and float(run.tags[SLOT_SECONDS_TAG]) > 0 for run in runs)
    observed = instance.fetch_observations(asset_key(CONCERT_FORECAST), limit=1).records
    assert observed[0].asset_observation
    assert int(str(observed[0].asset_observation.metadata["bytes_billed"].value)) > 0
    run_labels = {job.labels.get("run") for job in bigquery_place.server.client().list_jobs(max_results=500)}
    assert {run.run_id for run in runs} <= run_labels
