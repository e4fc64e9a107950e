"""Creates what the code location needs in Pub/Sub, as `infra/messages.tf` does; what exists is brought in line."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from google.api_core import exceptions
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import DeadLetterPolicy, ExpirationPolicy, RetryPolicy, Subscription, Topic

from mmt_assets.gcp.pubsub import PubSub

_TIMEOUT_SECONDS = 20.0
_MAX_DELIVERY_ATTEMPTS = 100
_SHORTEST_BACKOFF, _LONGEST_BACKOFF = timedelta(seconds=10), timedelta(seconds=120)
# The emulator knows the service's former limit for subscriptions.
_EMULATOR_KEEPS = timedelta(days=7)
# A tick settles what the tick before it took; at the longest it asks again after two minutes.
ACK_DEADLINE_SECONDS = 120


@dataclass(frozen=True)
class Queue:
    """A topic and what may wait on it.

    Attributes:
        topic: Short name of the topic.
        subscription: Short name of its subscription.
        keep_for: How long a message waits for somebody to take it.
    """

    topic: str
    subscription: str
    keep_for: timedelta = timedelta(days=7)


REQUESTS = Queue("mmt-forecast-requests", "mmt-forecast-requests")
VM_EVENTS = Queue("mmt-vm-events", "mmt-vm-events")
# A name of its own for what both queues could not deliver, kept long enough to be looked at.
DEAD_LETTERS = Queue(
    "mmt-forecast-requests-dead-letter", "mmt-forecast-requests-dead-letter", keep_for=timedelta(days=31)
)
QUEUES = (DEAD_LETTERS, REQUESTS, VM_EVENTS)


def set_up(client: PubSub, *, ack_deadline_seconds: int = ACK_DEADLINE_SECONDS) -> list[str]:
    """Create topics, subscriptions and dead letters that are missing and bring the rest in line.

    Args:
        client: Project.
        ack_deadline_seconds: After which an unacknowledged message is delivered again, 10 to 600.

    Returns:
        One line for each topic and subscription: what was done to it.

    Raises:
        PubSubError: Pub/Sub refused or did not answer.
    """
    lines = []
    for queue in QUEUES:
        lines.append(_set_up_topic(client, queue))
        lines += _set_up_subscription(client, queue, ack_deadline_seconds)
    return lines


def _set_up_topic(client: PubSub, queue: Queue) -> str:
    name = client.topic(queue.topic)
    wanted = Topic(name=name, message_retention_duration=_duration(queue.keep_for))
    with client.explained(f"create topic {queue.topic}"):
        try:
            client.publisher.create_topic(request=wanted, timeout=_TIMEOUT_SECONDS)
        except exceptions.AlreadyExists:
            return f"topic {name} exists"
    return f"topic {name} created"


def _set_up_subscription(client: PubSub, queue: Queue, ack_deadline_seconds: int) -> Iterator[str]:
    name = client.subscription(queue.subscription)
    keep_for = min(queue.keep_for, _EMULATOR_KEEPS) if client.emulator else queue.keep_for
    wanted = Subscription(
        name=name,
        topic=client.topic(queue.topic),
        ack_deadline_seconds=ack_deadline_seconds,
        message_retention_duration=_duration(keep_for),
        # Never by itself: a request that nobody came for in a year is still a request.
        expiration_policy=ExpirationPolicy(),
    )
    if queue is not DEAD_LETTERS:
        # The sensor dead-letters what it cannot read, with a reason; this catches what it cannot survive.
        wanted.dead_letter_policy = DeadLetterPolicy(
            dead_letter_topic=client.topic(DEAD_LETTERS.topic), max_delivery_attempts=_MAX_DELIVERY_ATTEMPTS
        )
        wanted.retry_policy = RetryPolicy(
            minimum_backoff=_duration(_SHORTEST_BACKOFF), maximum_backoff=_duration(_LONGEST_BACKOFF)
        )
    with client.explained(f"create subscription {queue.subscription}"):
        try:
            client.subscriber.create_subscription(request=wanted, timeout=_TIMEOUT_SECONDS)
        except exceptions.AlreadyExists:
            yield _bring_in_line(client, wanted)
        else:
            yield f"subscription {name} created"


def _bring_in_line(client: PubSub, wanted: Subscription) -> str:
    present = client.subscriber.get_subscription(subscription=wanted.name, timeout=_TIMEOUT_SECONDS)
    if present.topic != wanted.topic:
        # A subscription keeps the topic that it was made with; a deleted one's messages can never come.
        told = f"belongs to {present.topic}, not to {wanted.topic}: delete it and run this again"
        return f"subscription {wanted.name} {told}"
    fields = ["ack_deadline_seconds", "message_retention_duration", "dead_letter_policy"]
    different = [name for name in fields if getattr(present, name) != getattr(wanted, name)]
    if not different:
        return f"subscription {wanted.name} exists"
    client.subscriber.update_subscription(
        subscription=wanted, update_mask=FieldMask(paths=different), timeout=_TIMEOUT_SECONDS
    )
    return f"subscription {wanted.name} changed: {', '.join(different)}"


def _duration(length: timedelta) -> Duration:
    made = Duration()
    made.FromTimedelta(length)
    return made
