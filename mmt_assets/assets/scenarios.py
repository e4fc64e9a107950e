"""What-if results of one concert, apart from its forecast."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd
from dagster._core.definitions.metadata import RawMetadataValue
from pydantic import Field

from mmt_assets.assets.catalog import asset_key, catalog_entry, table_asset
from mmt_assets.assets.checks import contract_check_specs, run_contract_checks
from mmt_assets.assets.forecasts import chosen_as_of_date, worker_job
from mmt_assets.contracts import CITY_DEMAND, CONCERT_SALES, CONCERT_SCENARIOS, CONCERTS
from mmt_assets.partitions import CONCERTS as CONCERT_PARTITIONS
from mmt_assets.resources import ComputeResource, WarehouseResource
from mmt_assets.settings import Settings
from mmt_assets.warehouse import Session, Slice, Statement
from mmt_assets.worker.scenario_request import read_request

_EXPLANATION = (
    "A partition is a concert. Give what to change in the run's configuration and materialise it. The result is a row "
    "of this table alone: it is never published, judged or drawn."
)
_THIS = "SELECT * FROM forecasts.concert_scenarios WHERE concert_id = @concert_id AND scenario_id = @scenario_id"


class ScenarioConfig(dg.Config):
    """What to change; at least one of capacity, show_date, on_sale_date and price."""

    capacity: int | None = Field(default=None, description="Seats from now on; at least what is sold")
    show_date: str | None = Field(default=None, description="Day of the show (YYYY-MM-DD), after the as-of date")
    on_sale_date: str | None = Field(
        default=None, description="First day of sale (YYYY-MM-DD), for a concert that is not on sale yet"
    )
    price: float | None = Field(default=None, description="Ticket price from now on; needs price_elasticity")
    current_price: float | None = Field(
        default=None, description="Price that it is compared with; default the mean price of the tickets sold so far"
    )
    price_elasticity: float | None = Field(
        default=None,
        description="Your assumption: percent of demand per percent of price, 0 or below, e.g. -0.5. Not learned",
    )
    as_of_date: str | None = Field(
        default=None, description="As-of date (YYYY-MM-DD); default the latest day whose features are complete"
    )


def scenario_asset(settings: Settings) -> dg.AssetsDefinition:
    """The table of what-if results."""
    key = asset_key(CONCERT_SCENARIOS)
    features = [asset_key(contract) for contract in (CONCERT_SALES, CITY_DEMAND)]

    @table_asset(
        key=key,
        deps=[
            asset_key(CONCERTS),
            # The newest day matters, whichever it is.
            *(dg.AssetDep(feature, partition_mapping=dg.LastPartitionMapping()) for feature in features),
        ],
        partitions_def=CONCERT_PARTITIONS,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        check_specs=contract_check_specs(CONCERT_SCENARIOS),
        **catalog_entry(CONCERT_SCENARIOS, kinds=("python", "prophet", "duckdb"), explanation=_EXPLANATION),
    )
    def concert_scenarios(
        context: dg.AssetExecutionContext,
        config: ScenarioConfig,
        warehouse: WarehouseResource,
        compute: ComputeResource,
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        concert_id = context.partition_key
        try:
            request = read_request(config.model_dump(exclude={"as_of_date"}))
        except ValueError as error:
            raise dg.Failure(f"what-if of {concert_id}: {error}") from None
        as_of, _ = chosen_as_of_date(context, settings, config.as_of_date)
        job = worker_job(
            context,
            settings,
            warehouse,
            as_of_dates=(as_of,),
            live_date=None,
            concert_id=concert_id,
            scenario=request,
        )
        outcome = compute.run(context, job)
        with warehouse.open(context) as session:
            metadata = _metadata(session, concert_id, outcome.messages[-1]["scenario_id"])
            checks = list(run_contract_checks(session, CONCERT_SCENARIOS, Slice(group=("concert_id", concert_id))))
        yield dg.MaterializeResult(asset_key=key, metadata={**metadata, "worker_seconds": outcome.seconds})
        yield from checks

    return concert_scenarios


def _metadata(session: Session, concert_id: str, scenario_id: str) -> dict[str, RawMetadataValue]:
    [row] = session.query(Statement(_THIS, {"concert_id": concert_id, "scenario_id": scenario_id})).to_dict("records")
    figures: dict[str, RawMetadataValue] = {
        "verdict": scenario_verdict(row),
        "assumptions": row["assumptions"],
        "scenario_id": scenario_id,
        "as_of_date": f"{row['as_of_date']:%Y-%m-%d}",
    }
    return figures | {name: float(row[name]) for name in ("final_p50", "unchanged_final_p50", "difference_p50")}


def scenario_verdict(row: dict[Any, Any]) -> str:
    """One line for people: what the change would do.

    Args:
        row: A row of the table.
    """
    told = (
        f"{row['artist']} in {row['city']} with {row['changes']}: {row['final_p50']:,.0f} tickets expected "
        f"({row['final_p10']:,.0f} to {row['final_p90']:,.0f}) instead of {row['unchanged_final_p50']:,.0f} "
        f"({row['unchanged_final_p10']:,.0f} to {row['unchanged_final_p90']:,.0f})"
    )
    new, old = row["sell_out_probability"], row["unchanged_sell_out_probability"]
    if pd.notna(new):
        told += f"; sell-out {new:.0%}" + (f" instead of {old:.0%}" if pd.notna(old) else "")
    if pd.notna(row["price"]):
        told += (
            f"; revenue still to come {row['revenue_ahead']:,.0f} {row['currency'] or ''} instead of "
            f"{row['unchanged_revenue_ahead']:,.0f}"
        )
    return f"{told}. Takes for granted: {row['assumptions']}."
