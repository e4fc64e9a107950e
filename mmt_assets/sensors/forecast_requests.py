"""Runs for the requests that arrive as messages."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from mmt_assets.forecast_requests import SENSOR_NAME
from mmt_assets.resources import PubSubResource, WarehouseResource
from mmt_assets.settings import Settings

_LOCK_SECONDS = 1.0


def forecast_request_sensor(
    settings: Settings, daily_job: UnresolvedAssetJobDefinition, concert_job: UnresolvedAssetJobDefinition
) -> dg.SensorDefinition:
    """Takes requests from Pub/Sub: one run for each concert or day, none lost, none twice."""

    @dg.sensor(
        name=SENSOR_NAME,
        jobs=[daily_job, concert_job],
        minimum_interval_seconds=settings.request_interval_seconds,
        # Without a project there is no queue: a laptop shows no failing sensor.
        default_status=(
            dg.DefaultSensorStatus.RUNNING
            if settings.env == "gcp" or settings.project
            else dg.DefaultSensorStatus.STOPPED
        ),
        description="Requests from Pub/Sub: one concert's forecast, or a day's run. Needs MMT_PROJECT.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, warehouse: WarehouseResource, pubsub: PubSubResource
    ) -> dg.SensorResult | dg.SkipReason:
        # They load Google's client, and every run loads this module.
        from mmt_assets.forecast_requests.hand import hand_of  # noqa: PLC0415
        from mmt_assets.forecast_requests.tick import Tick  # noqa: PLC0415

        client = pubsub.client()
        hand = hand_of(client.project, client.emulator)
        # A daemon that died leaves its last evaluation at work here.
        if not hand.lock.acquire(timeout=_LOCK_SECONDS):
            return dg.SkipReason("an earlier tick is still at work: its daemon was started again")
        try:
            return Tick(
                instance=context.instance,
                settings=settings,
                warehouse=warehouse,
                pubsub=client,
                hand=hand,
                cursor=context.cursor,
                log=context.log,
            ).evaluate()
        finally:
            hand.lock.release()

    return sensor
