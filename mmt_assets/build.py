"""Puts assets, resources, jobs, schedules and sensors together."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from mmt_assets.assets.accuracy import accuracy_asset
from mmt_assets.assets.board import board_asset
from mmt_assets.assets.features import feature_assets
from mmt_assets.assets.forecasts import forecast_assets
from mmt_assets.assets.messages import message_assets
from mmt_assets.assets.operations import vm_ledger_asset
from mmt_assets.assets.raw import raw_assets
from mmt_assets.assets.scenarios import scenario_asset
from mmt_assets.jobs import (
    concert_forecast_job,
    concert_scenario_job,
    daily_forecast_job,
    outlook_board_job,
    vm_ledger_job,
)
from mmt_assets.resources import (
    BigQueryDatasets,
    DuckDBFile,
    LocalProcess,
    PubSubResource,
    SourceResource,
    WarehouseResource,
)
from mmt_assets.resources.compute import ComputeResource
from mmt_assets.resources.compute_engine import ComputeEngineServer, ServerForDays
from mmt_assets.resources.dataproc import DataprocCluster
from mmt_assets.retention import retention_job
from mmt_assets.schedules import daily_forecast_schedule, retention_schedule, vm_ledger_schedule
from mmt_assets.sensors.catch_up import catch_up_sensor
from mmt_assets.sensors.concert_partitions import concert_partition_sensor
from mmt_assets.sensors.day_outcome import day_outcome_sensors
from mmt_assets.sensors.forecast_requests import forecast_request_sensor
from mmt_assets.sensors.notifications import failed_day_sensor, notification_sensor
from mmt_assets.sensors.outlook_board import outlook_board_sensor
from mmt_assets.sensors.stale_runs import stale_run_sensor
from mmt_assets.sensors.vm_finished import vm_finished_sensor
from mmt_assets.sensors.vm_reaper import vm_reaper_sensor
from mmt_assets.sensors.vm_release import vm_release_sensor
from mmt_assets.settings import Settings


def build_warehouse(settings: Settings) -> WarehouseResource:
    """The warehouse of the environment."""
    if settings.env == "local":
        return DuckDBFile(path=str(settings.warehouse_path), busy_timeout=settings.busy_timeout_seconds)
    return BigQueryDatasets(
        project=settings.project,
        prefix=settings.dataset_prefix,
        max_scan_gib=settings.max_scan_gib,
        busy_timeout=settings.busy_timeout_seconds,
        endpoint=settings.bigquery_endpoint,
        storage_endpoint=settings.bigquery_storage_endpoint,
    )


def build_resources(settings: Settings) -> dict[str, Any]:
    """Resources of the environment; nothing is opened and nobody logs in."""
    beside = LocalProcess(
        timeout_seconds=settings.worker_timeout_seconds,
        heartbeat_seconds=settings.heartbeat_seconds,
        # In the cloud most of its runs forecast on the analysis server.
        starts_with_run=settings.env == "local",
    )
    return {
        "warehouse": build_warehouse(settings),
        "source": SourceResource(path=settings.source_location, is_sample=settings.source == "sample"),
        "compute": beside if settings.env == "local" else ServerForDays(server=_server(settings), beside=beside),
        "pubsub": PubSubResource(project=settings.project, emulator=settings.pubsub_emulator),
    }


def _server(settings: Settings) -> ComputeResource:
    """Where whole days are forecast in the cloud: on one machine, or on a cluster that is there already."""
    place = DataprocCluster if settings.dataproc_cluster else ComputeEngineServer
    return place.from_settings(settings)


@dataclass(frozen=True)
class _ServerDefinitions:
    """What sees to machines of the cloud; nothing where there are none."""

    assets: Sequence[dg.AssetsDefinition] = ()
    jobs: Sequence[UnresolvedAssetJobDefinition] = ()
    schedules: Sequence[dg.ScheduleDefinition] = ()
    sensors: Sequence[dg.SensorDefinition] = ()


def _server_definitions(settings: Settings) -> _ServerDefinitions:
    return _ServerDefinitions(
        assets=[vm_ledger_asset(settings)],
        jobs=[vm_ledger_job()],
        schedules=[vm_ledger_schedule()],
        sensors=[vm_finished_sensor(settings), vm_release_sensor(settings), vm_reaper_sensor(settings)],
    )


def build_definitions(
    settings: Settings,
    *,
    resources: Mapping[str, Any] | None = None,
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
) -> dg.Definitions:
    """The code location.

    Args:
        settings: Settings.
        resources: Resources that replace those of the environment, for tests.
        loggers: Loggers beside Dagster's own.
    """
    daily_job, concert_job = daily_forecast_job(), concert_forecast_job()
    servers = _server_definitions(settings) if settings.env == "gcp" else _ServerDefinitions()
    with warnings.catch_warnings():
        # Backfill policies and mappings to days before the first one are beta in Dagster; the lock pins its version.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.Definitions(
            assets=[
                *raw_assets(settings),
                *feature_assets(settings),
                *forecast_assets(settings),
                accuracy_asset(settings),
                scenario_asset(settings),
                board_asset(settings),
                *message_assets(),
                *servers.assets,
            ],
            jobs=[
                daily_job,
                concert_job,
                concert_scenario_job(),
                outlook_board_job(),
                retention_job(settings),
                *servers.jobs,
            ],
            schedules=[daily_forecast_schedule(settings), retention_schedule(settings), *servers.schedules],
            sensors=[
                concert_partition_sensor(settings),
                catch_up_sensor(settings, daily_job),
                forecast_request_sensor(settings, daily_job, concert_job),
                outlook_board_sensor(settings),
                stale_run_sensor(settings),
                notification_sensor(settings),
                failed_day_sensor(settings, daily_job),
                *(day_outcome_sensors(daily_job) if settings.env == "gcp" else []),
                *servers.sensors,
            ],
            resources={**build_resources(settings), **(resources or {})},
            loggers=loggers,
            # The asset's own Materialize button runs like the jobs: one process.
            executor=dg.in_process_executor,
        )
