"""Feature tables: what the forecasts read."""

import dagster as dg

from mmt_assets.assets.catalog import asset_key, catalog_entry, daily_freshness
from mmt_assets.assets.checks import contract_check_specs, run_contract_checks
from mmt_assets.assets.days import requested_days, require_history, run_fence
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
    @dg.asset(deps=[asset_key(TICKET_ORDERS), asset_key(TICKET_REFUNDS)], **_arguments(settings, CONCERT_SALES))
    def concert_sales(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> AssetResults:
        yield from _replace_days(context, settings, warehouse, CONCERT_SALES)

    return concert_sales


def _city_demand(settings: Settings) -> dg.AssetsDefinition:
    history = dg.AssetDep(asset_key(MAKES), partition_mapping=whole_history())

    @dg.asset(deps=[history], **_arguments(settings, CITY_DEMAND))
    def city_demand(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> AssetResults:
        # Whether a fan is new depends on all makes before.
        require_history(context, [asset_key(MAKES)], settings, requested_days(context, settings).last)
        yield from _replace_days(context, settings, warehouse, CITY_DEMAND)

    return city_demand


def _replace_days(
    context: dg.AssetExecutionContext, settings: Settings, warehouse: WarehouseResource, contract: TableContract
) -> AssetResults:
    """Make the days of a feature table from its SQL file, and check them."""
    days = requested_days(context, settings)
    rows = Statement.from_file(f"features/{contract.name}.sql", first_day=days.reload_from, last_day=days.last)
    with warehouse.open() as session:
        [result] = session.write([ReplaceSlice(contract, days.slice, rows)], fence=run_fence(context))
        yield dg.MaterializeResult(
            asset_key=asset_key(contract),
            metadata={
                "dagster/row_count": result.rows,
                "rows_added": result.added,
                "rows_removed": result.removed,
            },
        )
        yield from run_contract_checks(session, contract, days.slice)
