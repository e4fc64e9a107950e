"""Forecast tables: the day's forecasts of all active concerts, and one concert's on demand."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime

import dagster as dg
from dagster._core.definitions.metadata import RawMetadataValue
from pydantic import Field

from mmt_assets.assets.board import board_link
from mmt_assets.assets.catalog import asset_key, catalog_entry, daily_freshness, table_asset
from mmt_assets.assets.checks import contract_check_specs, run_contract_checks
from mmt_assets.assets.days import (
    DayRange,
    last_day_with_history,
    requested_days,
    require_history,
    run_fence,
)
from mmt_assets.assets.plots import concert_metadata, concert_rows, load_matplotlib, refreshed_metadata
from mmt_assets.assets.run_once import DAILY_POOL, end_if_made_already
from mmt_assets.contracts import (
    BOOKING_CURVES,
    CITY_DEMAND,
    CITY_DEMAND_FORECAST,
    CONCERT_FORECAST,
    CONCERT_OUTLOOK,
    CONCERT_PROPOSALS,
    CONCERT_SALES,
    CONCERTS,
    OUTLOOK_CHANGES,
    PUBLISHED_OUTLOOK,
    TICKET_SALES,
)
from mmt_assets.forecasting.proposals import ProposalOptions
from mmt_assets.partitions import CONCERTS as CONCERT_PARTITIONS
from mmt_assets.partitions import day_partitions, is_concert_partition_key, whole_history
from mmt_assets.provenance import lock_hash, source_commit
from mmt_assets.resources import ComputeResource, WarehouseResource
from mmt_assets.resources.warehouse import record_usage
from mmt_assets.settings import Settings
from mmt_assets.warehouse import Slice, Usage
from mmt_assets.worker.job import WorkerJob
from mmt_assets.worker.scenario_request import ScenarioRequest

_FEATURES = [asset_key(CONCERT_SALES), asset_key(CITY_DEMAND)]
_DAY_TABLES = (TICKET_SALES, CONCERT_OUTLOOK, BOOKING_CURVES, CITY_DEMAND_FORECAST, CONCERT_PROPOSALS)
_KINDS = ("python", "prophet", "duckdb")
_AS_OF = "A partition is an as-of date: nothing later is used. A rerun replaces it."
AssetResults = Iterator[dg.MaterializeResult | dg.AssetCheckResult]


def forecast_assets(settings: Settings) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The forecast tables."""
    published = dg.AssetSpec(
        asset_key(PUBLISHED_OUTLOOK),
        deps=[asset_key(CONCERT_OUTLOOK), asset_key(CONCERT_FORECAST)],
        **catalog_entry(
            PUBLISHED_OUTLOOK, kinds=_KINDS, explanation="Written in the same transaction as the live forecasts."
        ),
    )
    changes = dg.AssetSpec(
        asset_key(OUTLOOK_CHANGES),
        deps=[asset_key(CONCERT_OUTLOOK)],
        **catalog_entry(
            OUTLOOK_CHANGES,
            kinds=_KINDS,
            explanation="Written in the same transaction as the live forecasts of all concerts.",
        ),
    )
    return [_day_forecasts(settings), _concert_forecast(settings), published, changes]


def _day_forecasts(settings: Settings) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name="day_forecasts",
        specs=[
            dg.AssetSpec(
                asset_key(contract),
                deps=[asset_key(CONCERTS), *(dg.AssetDep(key, partition_mapping=whole_history()) for key in _FEATURES)],
                freshness_policy=daily_freshness(settings),
                **catalog_entry(contract, kinds=_KINDS, explanation=_AS_OF),
            )
            for contract in _DAY_TABLES
        ],
        check_specs=[spec for contract in _DAY_TABLES for spec in contract_check_specs(contract)],
        partitions_def=day_partitions(settings),
        # Chunk by chunk, so that the morning's run waits for no more than one.
        backfill_policy=dg.BackfillPolicy.multi_run(settings.max_forecast_days_per_run),
        pool=DAILY_POOL,
    )
    def day_forecasts(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, compute: ComputeResource
    ) -> AssetResults:
        end_if_made_already(context)
        days = requested_days(context, settings)
        require_history(context, _FEATURES, settings, days.last)
        today = settings.last_complete_day(datetime.now(UTC))
        live_date = today if days.first <= today <= days.last else None
        job = worker_job(context, settings, warehouse, as_of_dates=tuple(days.days()), live_date=live_date)
        outcome = compute.run(context, job)
        yield from outcome.results
        report = outcome.messages[-1]
        record_usage(context, Usage(**report["usage"]))
        context.log.info(f"concert_forecast: {len(report['refreshed'])} refreshed, {len(report['skipped'])} newer")
        concerts = [concert for concert in report["refreshed"] if is_concert_partition_key(concert)]
        recorded = concerts[: settings.max_concert_events]
        with warehouse.open(context) as session:
            figures = refreshed_metadata(session, live_date, recorded) if live_date and recorded else {}
            for contract in _DAY_TABLES:
                yield from run_contract_checks(session, contract, Slice(first=days.first, last=days.last))
        _log_refreshed_concerts(context, concerts, figures, days)

    return day_forecasts


def worker_job(
    context: dg.AssetExecutionContext,
    settings: Settings,
    warehouse: WarehouseResource,
    *,
    as_of_dates: tuple[date, ...],
    live_date: date | None,
    concert_id: str | None = None,
    scenario: ScenarioRequest | None = None,
) -> WorkerJob:
    """What the worker is to do for this run."""
    fence = run_fence(context)
    return WorkerJob(
        warehouse=warehouse.address(),
        timezone=settings.timezone,
        as_of_dates=as_of_dates,
        concert_id=concert_id,
        live_date=live_date,
        run_id=fence.run_id,
        run_created_at=fence.run_created_at,
        commit=source_commit(),
        lock_hash=lock_hash(),
        processes=settings.worker_processes,
        # One concert takes less than a cluster's start.
        spark_master=None if concert_id else settings.spark_master,
        exports=str(settings.exports_path),
        models=str(settings.models_path),
        proposals=ProposalOptions(
            threshold_fans=settings.proposal_fans,
            by_country=settings.fans_by_country(),
            capacities=settings.capacities(),
            limit=settings.proposal_places,
        ),
        scenario=scenario,
    )


def _log_refreshed_concerts(
    context: dg.AssetExecutionContext,
    concerts: Sequence[str],
    figures: Mapping[str, Mapping[str, RawMetadataValue]],
    days: DayRange,
) -> None:
    """Record the concerts that have figures: an event takes the instance about 20 ms, so there is a limit to them."""
    if not concerts:
        return
    context.instance.add_dynamic_partitions(str(CONCERT_PARTITIONS.name), list(concerts))
    for key, metadata in figures.items():
        context.log_event(
            dg.AssetMaterialization(
                asset_key(CONCERT_FORECAST),
                partition=key,
                description=f"Refreshed by the forecasts as of {days.last}",
                metadata=metadata,
            )
        )
    if len(figures) < len(concerts):
        context.log.info(
            f"recorded {len(figures)} of {len(concerts)} refreshed concerts (MMT_MAX_CONCERT_EVENTS); "
            "all are in the table"
        )
    for contract in (PUBLISHED_OUTLOOK, OUTLOOK_CHANGES):
        context.log_event(dg.AssetMaterialization(asset_key(contract), metadata={"as_of_date": days.last.isoformat()}))


class ConcertForecastConfig(dg.Config):
    """Run configuration of a concert's forecast."""

    as_of_date: str | None = Field(
        default=None, description="As-of date (YYYY-MM-DD); default the latest day whose features are complete"
    )


def _concert_forecast(settings: Settings) -> dg.AssetsDefinition:
    @table_asset(
        key=asset_key(CONCERT_FORECAST),
        # The newest day matters, whichever it is: no partition of these is waited for.
        deps=[
            asset_key(CONCERTS),
            *(dg.AssetDep(key, partition_mapping=dg.LastPartitionMapping()) for key in _FEATURES),
        ],
        partitions_def=CONCERT_PARTITIONS,
        # Concerts that are selected together are no contiguous range: one run each.
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        check_specs=contract_check_specs(CONCERT_FORECAST),
        **catalog_entry(
            CONCERT_FORECAST,
            kinds=_KINDS,
            explanation="A partition is a concert. Materialise one to forecast it now; the daily run refreshes all.",
        ),
    )
    def concert_forecast(
        context: dg.AssetExecutionContext,
        config: ConcertForecastConfig,
        warehouse: WarehouseResource,
        compute: ComputeResource,
    ) -> AssetResults:
        load_matplotlib()
        concert_id = context.partition_key
        as_of, is_latest = chosen_as_of_date(context, settings, config.as_of_date)
        live_date = as_of if is_latest else None
        job = worker_job(context, settings, warehouse, as_of_dates=(as_of,), live_date=live_date, concert_id=concert_id)
        outcome = compute.run(context, job)
        record_usage(context, Usage(**outcome.messages[-1]["usage"]))
        with warehouse.open(context, read_only=True) as session:
            forecast, history = concert_rows(session, concert_id)
            checks = list(run_contract_checks(session, CONCERT_FORECAST, Slice(group=("concert_id", concert_id))))
        # Drawn when the warehouse is free again.
        metadata = concert_metadata(forecast, history) | board_link(settings, concert_id)
        parts = {f"{part}_seconds": value for part, value in outcome.messages[-1]["seconds"].items()}
        yield dg.MaterializeResult(metadata={**metadata, **parts, "worker_seconds": outcome.seconds})
        yield from checks

    return concert_forecast


def chosen_as_of_date(
    context: dg.AssetExecutionContext, settings: Settings, as_of_date: str | None
) -> tuple[date, bool]:
    """The as-of date of the configuration, else the latest day whose features are complete; and whether it is that."""
    latest = last_day_with_history(context.instance, _FEATURES, settings)
    if latest is None:
        raise dg.Failure(
            f"no day of {', '.join(key.to_user_string() for key in _FEATURES)} is complete from "
            f"{settings.partitions_start()} on: materialise the daily job first"
        )
    try:
        as_of = date.fromisoformat(as_of_date) if as_of_date else latest
    except ValueError:
        raise dg.Failure(f"as_of_date {as_of_date!r} is no date: expected YYYY-MM-DD") from None
    require_history(context, _FEATURES, settings, as_of)
    return as_of, as_of == latest
