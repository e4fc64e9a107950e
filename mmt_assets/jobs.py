"""Jobs: the day's work, and one concert's forecast."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from mmt_assets.assets.catalog import asset_key
from mmt_assets.contracts import CONCERT_FORECAST

DAILY_JOB = "daily_forecast_job"
CONCERT_JOB = "concert_forecast_job"


def daily_forecast_job() -> UnresolvedAssetJobDefinition:
    """Source to forecasts for a range of business days."""
    selection = dg.AssetSelection.groups("raw", "features", "forecasts") - dg.AssetSelection.assets(
        asset_key(CONCERT_FORECAST)
    )
    return dg.define_asset_job(
        DAILY_JOB,
        selection=selection,
        description="Everything that belongs to a business day: raw, features, forecasts of all active concerts.",
        # One process: SIGKILL of the run then leaves no step process that goes on writing.
        executor_def=dg.in_process_executor,
    )


def concert_forecast_job() -> UnresolvedAssetJobDefinition:
    """One concert's forecast, now."""
    return dg.define_asset_job(
        CONCERT_JOB,
        selection=dg.AssetSelection.assets(asset_key(CONCERT_FORECAST)),
        description="Forecast one concert on demand; choose the concert as partition.",
        executor_def=dg.in_process_executor,
    )
