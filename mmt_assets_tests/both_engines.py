"""The same days made on DuckDB and on BigQuery, and what differs between them."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from mmt_assets.build import build_definitions
from mmt_assets.contracts import FEATURE_TABLES, FORECAST_TABLES, RAW_TABLES
from mmt_assets.job_names import CONCERT_JOB, DAILY_JOB
from mmt_assets.partitions import CONCERTS
from mmt_assets.resources import LocalProcess
from mmt_assets.settings import Settings
from mmt_assets.warehouse import DuckDBWarehouse, Slice
from mmt_assets.warehouse.compare import Comparison, compare_table
from mmt_assets_tests.servers.bigquery import BigQueryPlace, fill_source

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_GROUPS = ("raw", "features", "forecasts")


def cloud_settings(local: Settings, place: BigQueryPlace, directory: Path) -> Settings:
    """The settings of a local project, for BigQuery; the source directory's rows are copied there."""
    home = local.home / "cloud"
    where = {name.removeprefix("MMT_").lower(): value for name, value in place.settings().items()}
    return Settings.model_validate(
        {
            "env": "gcp",
            "first_day": local.first_day,
            "last_day": local.last_day,
            "reload_days": local.reload_days,
            "timezone": local.timezone,
            "max_rejected_share": local.max_rejected_share,
            "worker_processes": local.worker_processes,
            "source": fill_source(place, directory),
            "home": home,
            "board": str(home / "board.html"),
            "fan_hash_key": local.hash_key(),
            **where,
        }
    )


def make_days(settings: Settings, concert_id: str) -> dg.DagsterInstance:
    """The history until the eve, then the last day with its forecasts, then one concert on demand."""
    definitions = build_definitions(settings, resources={"compute": LocalProcess(timeout_seconds=1800)})
    instance = dg.DagsterInstance.ephemeral()
    daily = definitions.resolve_job_def(DAILY_JOB)
    keys = [key for key in daily.asset_layer.executable_asset_keys if key.path[0] in _GROUPS]
    history = [key for key in keys if key.path[0] != "forecasts"]
    last = settings.last_day
    assert last
    for begin, end, assets in ((settings.partitions_start(), last - timedelta(days=1), history), (last, last, keys)):
        result = daily.execute_in_process(
            instance=instance, asset_selection=assets, tags=_range(begin, end), run_config=_QUIET
        )
        assert result.success
    instance.add_dynamic_partitions(str(CONCERTS.name), [concert_id])
    concert = definitions.resolve_job_def(CONCERT_JOB)
    assert concert.execute_in_process(instance=instance, partition_key=concert_id, run_config=_QUIET).success
    return instance


def compare(local: Settings, place: BigQueryPlace) -> Iterator[Comparison]:
    """Compare every table of both warehouses."""
    with (
        DuckDBWarehouse(local.warehouse_path).open(read_only=True) as left,
        place.warehouse().open(read_only=True) as right,
    ):
        for contract in (*RAW_TABLES, *FEATURE_TABLES, *FORECAST_TABLES):
            yield compare_table(left, right, contract, Slice())


def _range(first: date, last: date) -> dict[str, Any]:
    return {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}
