"""Jobs: the day's work, one concert's forecast, and the board."""

import warnings

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from mmt_assets.assets.board import BOARD
from mmt_assets.assets.catalog import asset_key
from mmt_assets.contracts import CONCERT_FORECAST, CONCERT_SCENARIOS, VM_LEDGER
from mmt_assets.job_names import BOARD_JOB, CONCERT_JOB, DAILY_JOB, LEDGER_JOB, SCENARIO_JOB
from mmt_assets.resources.compute import RetryableFailure
from mmt_assets.warehouse import WarehouseBusyError

# A rerun replaces what is there, so a retry starts from the beginning; how often is set in dagster.yaml.
_RETRY_TAGS = {"dagster/retry_strategy": "ALL_STEPS"}


@dg.failure_hook
def retry_when_worthwhile(context: dg.HookContext) -> None:
    """Have the daemon retry a run that the warehouse's lock or a lost machine failed; wrong input is not retried."""
    if isinstance(context.op_exception, (WarehouseBusyError, RetryableFailure)):
        context.instance.add_run_tags(context.run_id, {"dagster/retry_on_asset_or_op_failure": "true"})


def daily_forecast_job() -> UnresolvedAssetJobDefinition:
    """Source to forecasts for a range of business days."""
    # Forecasts are cut finer than raw and features, and the job as a whole like forecasts, as Dagster then says.
    warnings.filterwarnings("ignore", message=f"Asset job {DAILY_JOB} materializes assets with varying")
    selection = dg.AssetSelection.groups("raw", "features", "forecasts") - dg.AssetSelection.assets(
        asset_key(CONCERT_FORECAST), asset_key(CONCERT_SCENARIOS)
    )
    return dg.define_asset_job(
        DAILY_JOB,
        selection=selection,
        description="Everything that belongs to a business day: raw, features, forecasts of all active concerts.",
        # One process: SIGKILL of the run then leaves no step process that goes on writing.
        executor_def=dg.in_process_executor,
        tags=_RETRY_TAGS,
        hooks={retry_when_worthwhile},
    )


def concert_forecast_job() -> UnresolvedAssetJobDefinition:
    """One concert's forecast, now."""
    return dg.define_asset_job(
        CONCERT_JOB,
        selection=dg.AssetSelection.assets(asset_key(CONCERT_FORECAST)),
        description="Forecast one concert on demand; choose the concert as partition.",
        executor_def=dg.in_process_executor,
        tags=_RETRY_TAGS,
        hooks={retry_when_worthwhile},
    )


def concert_scenario_job() -> UnresolvedAssetJobDefinition:
    """What if one concert had another capacity, date, start of sale or price."""
    return dg.define_asset_job(
        SCENARIO_JOB,
        selection=dg.AssetSelection.assets(asset_key(CONCERT_SCENARIOS)),
        description="What-if of one concert; choose the concert as partition, give the change as configuration.",
        executor_def=dg.in_process_executor,
        tags=_RETRY_TAGS,
        hooks={retry_when_worthwhile},
    )


def vm_ledger_job() -> UnresolvedAssetJobDefinition:
    """The ledger of analysis servers."""
    return dg.define_asset_job(
        LEDGER_JOB,
        selection=dg.AssetSelection.assets(asset_key(VM_LEDGER)),
        description="What analysis servers ran and cost, compared with what Compute Engine lists.",
        executor_def=dg.in_process_executor,
    )


def outlook_board_job() -> UnresolvedAssetJobDefinition:
    """The board alone, from what the tables hold."""
    return dg.define_asset_job(
        BOARD_JOB,
        selection=dg.AssetSelection.assets(BOARD),
        description="Make the outlook board again, without forecasting anything.",
        executor_def=dg.in_process_executor,
        tags=_RETRY_TAGS,
        hooks={retry_when_worthwhile},
    )
