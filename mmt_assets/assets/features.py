"""Feature tables: what the forecasts read."""

from dataclasses import replace

import dagster as dg

from mmt_assets.assets.catalog import asset_key, catalog_entry, daily_freshness, table_asset
from mmt_assets.assets.checks import contract_check_specs, run_contract_checks
from mmt_assets.assets.days import DayRange, materialized_days, requested_days, require_days, require_history, run_fence
from mmt_assets.assets.raw import AssetResults
from mmt_assets.contracts import CITY_DEMAND, CONCERT_SALES, MAKES, TICKET_ORDERS, TICKET_REFUNDS, TableContract
from mmt_assets.partitions import day_partitions, whole_history
from mmt_assets.resources import WarehouseResource
from mmt_assets.settings import Settings
from mmt_assets.warehouse import ReplaceSlice, Statement

_PARTITIONS = "A partition is a business day. A rerun also makes the MMT_RELOAD_DAYS days before it again."


def feature_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The feature tables."""
    return [_concert_sales(settings), _city_demand(settings)]


def _arguments(settings: Settings, contract: TableContract) -> dict:
    return {
        "key": asset_key(contract),
        "partitions_def": day_partitions(settings),
        "backfill_policy": dg.BackfillPolicy.multi_run(settings.max_partitions_per_run),
        "check_specs": contract_check_specs(contract),
        "freshness_policy": daily_freshness(settings),
        **catalog_entry(contract, explanation=_PARTITIONS),
    }


def _concert_sales(settings: Settings) -> dg.AssetsDefinition:
    @table_asset(deps=[asset_key(TICKET_ORDERS), asset_key(TICKET_REFUNDS)], **_arguments(settings, CONCERT_SALES))
    def concert_sales(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> AssetResults:
        days = requested_days(context, settings)
        # Without them the days would look like days on which nothing was sold.
        require_days(context, [asset_key(TICKET_ORDERS), asset_key(TICKET_REFUNDS)], days.first, days.last)
        yield from _replace_days(context, warehouse, CONCERT_SALES, days)

    return concert_sales


def _city_demand(settings: Settings) -> dg.AssetsDefinition:
    history = dg.AssetDep(asset_key(MAKES), partition_mapping=whole_history())

    @table_asset(deps=[history], **_arguments(settings, CITY_DEMAND))
    def city_demand(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> AssetResults:
        # Whether a fan is new depends on all makes before.
        days = requested_days(context, settings)
        require_history(context, [asset_key(MAKES)], settings, days.last)
        # A make that arrived late for an early day takes the "new" from a later one, which must not keep it as well.
        known = materialized_days(context.instance, asset_key(CITY_DEMAND))
        yield from _replace_days(context, warehouse, CITY_DEMAND, replace(days, last=max(known | {days.last})))

    return city_demand


def _replace_days(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, contract: TableContract, days: DayRange
) -> AssetResults:
    """Make the days of a feature table from its SQL file, and check them."""
    rows = Statement.from_file(f"features/{contract.name}.sql", first_day=days.reload_from, last_day=days.last)
    with warehouse.open(context) as session:
        [result] = session.write([ReplaceSlice(contract, days.slice, rows, days.fenced)], fence=run_fence(context))
        yield dg.MaterializeResult(
            asset_key=asset_key(contract),
            metadata={
                "dagster/row_count": result.rows,
                "rows_added": result.added,
                "rows_removed": result.removed,
            },
        )
        yield from run_contract_checks(session, contract, days.slice)
