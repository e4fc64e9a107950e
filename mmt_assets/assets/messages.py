"""The request queue and what was rejected of it, as assets that are only observed: the sensor tells their state."""

import dagster as dg

from mmt_assets.assets.catalog import OWNERS

REQUESTS_KEY = dg.AssetKey(["operations", "forecast_requests"])
REJECTED_KEY = dg.AssetKey(["operations", "rejected_requests"])
_KINDS = {"pubsub"}


def message_assets() -> list[dg.AssetSpec]:
    """The queue and its rejected messages."""
    return [
        dg.AssetSpec(
            REQUESTS_KEY,
            group_name="operations",
            owners=OWNERS,
            kinds=_KINDS,
            description=(
                "Requests to forecast that wait in Pub/Sub (topic mmt-forecast-requests).\n\n"
                "`forecast_request_sensor` observes it whenever it had something to do: what it pulled and launched, "
                "how many requests wait and for how long."
            ),
        ),
        dg.AssetSpec(
            REJECTED_KEY,
            deps=[REQUESTS_KEY],
            group_name="operations",
            owners=OWNERS,
            kinds=_KINDS,
            description=(
                "Messages that are no request or that can never be done, one observation each, with the reason. "
                "Their content is in the topic mmt-forecast-requests-dead-letter."
            ),
        ),
    ]
