"""How a rejected message is recorded: once as an observation, then as a dead letter."""

from collections.abc import Sequence

import dagster as dg

from mmt_assets.assets.messages import REJECTED_KEY
from mmt_assets.forecast_requests.hand import Delivery
from mmt_assets.forecast_requests.judge import Rejected
from mmt_assets.gcp.pubsub_setup import REQUESTS

_LONGEST_REASON = 500


def recorded_rejections(instance: dg.DagsterInstance, deliveries: Sequence[Delivery]) -> set[str]:
    """Those of the messages whose rejection a tick recorded before it was killed."""
    if not deliveries:
        return set()
    wanted = dg.AssetRecordsFilter(
        asset_key=REJECTED_KEY, asset_partitions=[delivery.identity for delivery in deliveries]
    )
    found = instance.fetch_observations(wanted, limit=2 * len(deliveries)).records
    return {str(record.partition_key) for record in found}


def reason(delivery: Delivery) -> str:
    """Why a message is rejected; empty for one that is not."""
    return delivery.wanted.reason[:_LONGEST_REASON] if isinstance(delivery.wanted, Rejected) else ""


def rejection_event(delivery: Delivery) -> dg.AssetObservation:
    """What the asset of rejected requests shows of it."""
    return dg.AssetObservation(
        REJECTED_KEY,
        # By which a later tick finds it.
        partition=delivery.identity,
        description=reason(delivery),
        metadata={
            "source_message_id": delivery.message_id,
            "reason": reason(delivery),
            "published_at": dg.MetadataValue.timestamp(delivery.published_at),
            "size_bytes": delivery.size,
        },
    )


def dead_letter(delivery: Delivery) -> tuple[bytes, dict[str, str]]:
    """The message's content, and as attributes why it was rejected and which one it was."""
    attributes = {
        "reason": reason(delivery),
        "source_message_id": delivery.message_id,
        "source_published_at": delivery.published_at.isoformat(),
        "source_subscription": REQUESTS.subscription,
        "source_size_bytes": str(delivery.size),
    }
    return delivery.data, attributes
