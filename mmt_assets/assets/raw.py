"""Raw tables: source rows by business day, bad ones in `raw.rejected_rows`."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import dagster as dg

from mmt_assets.assets.catalog import asset_key, catalog_entry, daily_freshness, table_asset
from mmt_assets.assets.checks import contract_check_specs, late_rows_spec, rejected_rows_spec
from mmt_assets.assets.days import DayRange, requested_days, run_fence
from mmt_assets.assets.loading import (
    RawLoad,
    good_concerts,
    is_first_load,
    load_results,
    new_concert_writes,
    stage_concerts,
    stage_makes,
    stage_orders,
    stage_undated_refunds,
    undated_refunds_result,
)
from mmt_assets.assets.run_once import end_if_made_already
from mmt_assets.contracts import (
    CONCERTS,
    MAKES,
    REJECTED_ROWS,
    TICKET_ORDERS,
    TICKET_REFUNDS,
    UNDATED_REFUNDS,
    TableContract,
)
from mmt_assets.partitions import day_partitions
from mmt_assets.resources import SourceResource, WarehouseResource
from mmt_assets.settings import Settings
from mmt_assets.warehouse import Session

_FAR_FUTURE = date(2099, 12, 31)
_PARTITIONS = (
    "A partition is a business day. A rerun replaces the day, and the MMT_RELOAD_DAYS days before it, with what "
    "the source holds now."
)
AssetResults = Iterator[dg.MaterializeResult | dg.AssetCheckResult]


def raw_assets(settings: Settings) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The raw tables, in the order in which they are loaded."""
    return [
        _concerts(settings),
        _orders_and_refunds(settings),
        _makes(settings),
        dg.AssetSpec(
            asset_key(REJECTED_ROWS),
            deps=[asset_key(CONCERTS), asset_key(TICKET_ORDERS), asset_key(TICKET_REFUNDS), asset_key(MAKES)],
            **catalog_entry(REJECTED_ROWS, explanation="Written together with the table that refused the rows."),
        ),
        dg.AssetSpec(
            asset_key(UNDATED_REFUNDS),
            deps=[asset_key(TICKET_REFUNDS)],
            **catalog_entry(UNDATED_REFUNDS, explanation="Written together with `raw/ticket_refunds`."),
        ),
    ]


def _days(settings: Settings) -> dict:
    """Arguments of every day-partitioned raw asset."""
    return {
        "partitions_def": day_partitions(settings),
        "backfill_policy": dg.BackfillPolicy.multi_run(settings.max_partitions_per_run),
    }


def _day_checks(settings: Settings, contract: TableContract) -> list[dg.AssetCheckSpec]:
    """Checks of every day-partitioned raw asset."""
    return [
        *contract_check_specs(contract),
        rejected_rows_spec(contract, settings.max_rejected_share),
        late_rows_spec(contract),
    ]


def _location(source: SourceResource, settings: Settings) -> str:
    """The source as of the last complete day, whichever days are loaded: an older day must not set it back."""
    last_day = settings.last_complete_day(datetime.now(UTC))
    return source.location(first_day=settings.partitions_start(), last_day=last_day)


def _concerts(settings: Settings) -> dg.AssetsDefinition:
    @table_asset(
        key=asset_key(CONCERTS),
        check_specs=[*contract_check_specs(CONCERTS), rejected_rows_spec(CONCERTS, settings.max_rejected_share)],
        freshness_policy=daily_freshness(settings),
        **catalog_entry(
            CONCERTS,
            explanation="A run adds a version of each concert that is new or has changed; recorded versions stay. "
            "The first load holds from the beginning, later changes from the day being loaded.",
        ),
    )
    def concerts(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, source: SourceResource
    ) -> AssetResults:
        end_if_made_already(context)
        loaded_day = settings.last_complete_day(datetime.now(UTC))
        with warehouse.open(context, source=_location(source, settings)) as session:
            stage_concerts(session)
            writes = new_concert_writes(session, settings, loaded_day)
            results = session.write(writes, fence=run_fence(context))
            load = RawLoad(
                context,
                settings,
                CONCERTS,
                results,
                session.attach("concerts"),
                accepted=good_concerts(session),
            )
            yield from load_results(session, load)

    return concerts


def _orders_and_refunds(settings: Settings) -> dg.AssetsDefinition:
    undated = dg.AssetCheckSpec(
        "refunds_are_dated",
        asset=asset_key(TICKET_REFUNDS),
        description="Refunds without a time count from the day on which they are first seen",
    )
    contracts = (TICKET_ORDERS, TICKET_REFUNDS)

    # One asset function for both: the source's orders are the largest table, and are read and judged once.
    @dg.multi_asset(
        name="orders_and_refunds",
        specs=[
            dg.AssetSpec(
                asset_key(contract),
                deps=[asset_key(CONCERTS)],
                freshness_policy=daily_freshness(settings),
                **catalog_entry(contract, explanation=_PARTITIONS),
            )
            for contract in contracts
        ],
        check_specs=[*_day_checks(settings, TICKET_ORDERS), *_day_checks(settings, TICKET_REFUNDS), undated],
        can_subset=True,
        **_days(settings),
    )
    def orders_and_refunds(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, source: SourceResource
    ) -> AssetResults:
        wanted = [contract for contract in contracts if asset_key(contract) in context.selected_asset_keys]
        if not wanted:
            raise dg.Failure("these checks judge a load and are made with it: materialise days of the table")
        days = requested_days(context, settings)
        with warehouse.open(context, source=_location(source, settings)) as session:
            first_refunds = TICKET_REFUNDS in wanted and is_first_load(session, TICKET_REFUNDS)
            stage_orders(session, settings, last_day=_FAR_FUTURE if first_refunds else days.last)
            if TICKET_ORDERS in wanted:
                load = RawLoad.of_days(context, settings, session, days, TICKET_ORDERS, "ticket_orders", "orders")
                yield from load_results(session, load)
            if TICKET_REFUNDS in wanted:
                yield from _refunds(context, settings, session, days, first_load=first_refunds)

    return orders_and_refunds


def _refunds(
    context: dg.AssetExecutionContext, settings: Settings, session: Session, days: DayRange, *, first_load: bool
) -> AssetResults:
    """Load the days' refunds from the staged orders."""
    seen_date = settings.last_complete_day(datetime.now(UTC))
    newly_seen = stage_undated_refunds(session, seen_date, first_load=first_load)
    load = RawLoad.of_days(
        context, settings, session, days, TICKET_REFUNDS, "ticket_orders", "refunds", also=[newly_seen]
    )
    recorded = {"rows_added": load.results[-1].added}
    context.log_event(dg.AssetMaterialization(asset_key(UNDATED_REFUNDS), metadata=recorded))
    yield undated_refunds_result(session, days)
    yield from load_results(session, load)


def _makes(settings: Settings) -> dg.AssetsDefinition:
    @table_asset(
        key=asset_key(MAKES),
        check_specs=_day_checks(settings, MAKES),
        freshness_policy=daily_freshness(settings),
        **_days(settings),
        **catalog_entry(MAKES, explanation=_PARTITIONS),
    )
    def makes(context: dg.AssetExecutionContext, warehouse: WarehouseResource, source: SourceResource) -> AssetResults:
        end_if_made_already(context)
        days = requested_days(context, settings)
        with warehouse.open(context, source=_location(source, settings)) as session:
            stage_makes(session, settings, last_day=days.last)
            load = RawLoad.of_days(context, settings, session, days, MAKES, "makes", "makes")
            yield from load_results(session, load)

    return makes
