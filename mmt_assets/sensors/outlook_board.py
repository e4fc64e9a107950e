"""Makes the board again after forecasts on demand."""

import dagster as dg

from mmt_assets.assets.board import BOARD
from mmt_assets.assets.catalog import asset_key
from mmt_assets.contracts import CONCERT_FORECAST
from mmt_assets.job_names import BOARD_JOB
from mmt_assets.settings import Settings

_FORECAST = asset_key(CONCERT_FORECAST)


def outlook_board_sensor(settings: Settings) -> dg.SensorDefinition:
    """Asks for the board when a concert was forecast after it: once, however many concerts there were."""

    @dg.sensor(
        name="outlook_board_sensor",
        job_name=BOARD_JOB,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.env == "local" else dg.DefaultSensorStatus.STOPPED,
        description="Makes the outlook board again after forecasts on demand. The daily run makes it by itself.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        forecast = _newest(context.instance, _FORECAST)
        if forecast is None:
            return dg.SkipReason("no concert was forecast yet")
        board = _newest(context.instance, BOARD)
        if board is not None and board.storage_id > forecast.storage_id:
            return dg.SkipReason("the board is newer than every forecast")
        run = context.instance.get_run_by_id(forecast.run_id)
        if run is not None and not run.is_finished:
            return dg.SkipReason(f"run {run.run_id} is still forecasting")
        # The key asks once for each newest forecast, also while the board's run waits or after it failed.
        return dg.RunRequest(run_key=f"after-{forecast.storage_id}")

    return sensor


def _newest(instance: dg.DagsterInstance, asset: dg.AssetKey) -> dg.EventLogRecord | None:
    return next(iter(instance.fetch_materializations(asset, limit=1).records), None)
