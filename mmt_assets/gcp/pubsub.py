"""A plain client of Pub/Sub: publish, pull, acknowledge; every call is bounded in time, none is repeated by itself."""

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Self, cast

import grpc
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import PublisherClient, PubsubMessage, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

# One message has at most 10 MB; gRPC's own limit of 4 MB would refuse a reply that holds it.
_LARGEST_REPLY_BYTES = 128 * 1024 * 1024
_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", _LARGEST_REPLY_BYTES),
    ("grpc.max_metadata_size", 4 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    # After an outage the service is tried again soon; gRPC alone would wait up to two minutes.
    ("grpc.max_reconnect_backoff_ms", 5_000),
]
# Acknowledgement ids are about 200 bytes each and a request may have 512 KB.
_ACKNOWLEDGED_AT_ONCE = 1000
# So many of the largest messages fit into a reply.
_LARGE_MESSAGES_AT_ONCE = 10
_TIMEOUT_SECONDS = 5.0


class PubSubError(Exception):
    """Pub/Sub refused or did not answer; the message says what was asked, of whom, and what to do."""


class NothingAnsweredError(PubSubError):
    """Pub/Sub did not answer in time: it is out of reach, or there was nothing to answer with."""


class ReplyTooLargeError(PubSubError):
    """The messages of one reply are together larger than this client accepts."""


@dataclass(frozen=True)
class Message:
    """A message as it was delivered.

    Attributes:
        message_id: Pub/Sub's id.
        published_at: When Pub/Sub accepted it (UTC).
        data: Content.
        attributes: Attributes.
        ack_id: What acknowledges this delivery; a later delivery has another one.
        delivery_attempt: How often it was delivered; 0 where the subscription has no dead-letter topic.
    """

    message_id: str
    published_at: datetime
    data: bytes = field(repr=False)
    attributes: Mapping[str, str]
    ack_id: str = field(repr=False)
    delivery_attempt: int = 0

    @property
    def identity(self) -> str:
        """Twelve characters that are the same for every delivery: of the id and the time of publishing.

        The id alone is not enough: an emulator counts from 1 again when it is restarted.
        """
        return identity_of(self.message_id, self.published_at)


def identity_of(message_id: str, published_at: datetime) -> str:
    """See `Message.identity`."""
    return hashlib.blake2b(f"{message_id}@{published_at.isoformat()}".encode(), digest_size=6).hexdigest()


class PubSub:
    """A project's topics and subscriptions, by their short names.

    Attributes:
        project: Google Cloud project.
        emulator: `host:port` of an emulator, or None for Google's service.
    """

    def __init__(self, project: str, *, emulator: str | None = None) -> None:
        self.project = project
        self.emulator = emulator
        self._has_large_messages = False
        # Logging in waits for a metadata server where there is no other way, so it is done on the first call.
        self._login = threading.Lock()
        self._clients: tuple[PublisherClient, SubscriberClient] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def publisher(self) -> PublisherClient:
        """Google's client for topics.

        Raises:
            PubSubError: No credentials are found.
        """
        return self._connect()[0]

    @property
    def subscriber(self) -> SubscriberClient:
        """Google's client for subscriptions.

        Raises:
            PubSubError: No credentials are found.
        """
        return self._connect()[1]

    def _connect(self) -> tuple[PublisherClient, SubscriberClient]:
        with self._login:
            if self._clients is None:
                credentials = AnonymousCredentials() if self.emulator else None
                with self.explained("log in"):
                    self._clients = (
                        PublisherClient(
                            transport=PublisherGrpcTransport(
                                credentials=credentials, channel=self._channel(PublisherGrpcTransport)
                            )
                        ),
                        SubscriberClient(
                            transport=SubscriberGrpcTransport(
                                credentials=credentials, channel=self._channel(SubscriberGrpcTransport)
                            )
                        ),
                    )
            return self._clients

    def _channel(self, transport: type[PublisherGrpcTransport] | type[SubscriberGrpcTransport]) -> Any:
        def open_channel(host: str, **arguments: Any) -> grpc.Channel:
            if self.emulator:
                return grpc.insecure_channel(self.emulator, options=_CHANNEL_OPTIONS)
            return transport.create_channel(host, **{**arguments, "options": _CHANNEL_OPTIONS})

        return open_channel

    def close(self) -> None:
        """Close the connections."""
        with self._login:
            for client in self._clients or ():
                client.transport.close()
            self._clients = None

    def topic(self, name: str) -> str:
        """Full name of a topic."""
        return f"projects/{self.project}/topics/{name}"

    def subscription(self, name: str) -> str:
        """Full name of a subscription."""
        return f"projects/{self.project}/subscriptions/{name}"

    def publish(self, topic: str, data: bytes, *, timeout: float = _TIMEOUT_SECONDS, **attributes: str) -> str:
        """Publish one message and wait until Pub/Sub has it.

        Returns:
            The message's id.

        Raises:
            PubSubError: Pub/Sub did not accept it.
        """
        [message_id] = self.publish_all(topic, [(data, attributes)], timeout=timeout)
        return message_id

    def publish_all(
        self, topic: str, messages: Sequence[tuple[bytes, Mapping[str, str]]], *, timeout: float = _TIMEOUT_SECONDS
    ) -> list[str]:
        """Publish up to 1,000 messages, together at most 10 MB, in one request: all of them or none.

        Args:
            topic: Short name.
            messages: Content and attributes of each.
            timeout: Seconds.

        Returns:
            The messages' ids, in order.

        Raises:
            PubSubError: Pub/Sub did not accept them.
        """
        with self.explained(f"publish to topic {topic}"):
            made = [PubsubMessage(data=data, attributes=dict(attributes)) for data, attributes in messages]
            answer = self.publisher.publish(topic=self.topic(topic), messages=made, timeout=timeout, retry=None)
            return list(answer.message_ids)

    def pull(self, subscription: str, limit: int, *, timeout: float = _TIMEOUT_SECONDS) -> list[Message]:
        """Messages that wait, at once; waits up to `timeout` for the first one.

        Args:
            subscription: Short name.
            limit: Most messages.
            timeout: Seconds.

        Returns:
            What was delivered. Fewer than `limit` does not mean that there are no more; none means that none came
            within the time, and that Pub/Sub answers.

        Raises:
            PubSubError: Pub/Sub refused, or cannot be reached.
        """
        most = min(limit, _LARGE_MESSAGES_AT_ONCE) if self._has_large_messages else limit
        try:
            return self._pull(subscription, most, timeout)
        except NothingAnsweredError:
            # A server that holds the call because nothing waits looks like one that is not there.
            self.require_subscription(subscription, timeout=timeout)
            return []
        except ReplyTooLargeError:
            if self._has_large_messages:
                raise
            # What the reply held comes again when its acknowledgement deadline has passed, in smaller replies.
            self._has_large_messages = True
            return []

    def _pull(self, subscription: str, limit: int, timeout: float) -> list[Message]:
        with self.explained(f"pull from subscription {subscription}"):
            answer = self.subscriber.pull(
                request={"subscription": self.subscription(subscription), "max_messages": limit},
                timeout=timeout,
                retry=None,
            )
        return [
            Message(
                message_id=received.message.message_id,
                published_at=cast("datetime", received.message.publish_time),
                data=received.message.data,
                attributes=dict(received.message.attributes),
                ack_id=received.ack_id,
                delivery_attempt=received.delivery_attempt,
            )
            for received in answer.received_messages
        ]

    def acknowledge(self, subscription: str, ack_ids: Sequence[str], *, timeout: float = _TIMEOUT_SECONDS) -> None:
        """Tell Pub/Sub that these deliveries are done with; it forgets the messages.

        Raises:
            PubSubError: Pub/Sub did not take all of them; they are delivered again.
        """
        for first in range(0, len(ack_ids), _ACKNOWLEDGED_AT_ONCE):
            part = ack_ids[first : first + _ACKNOWLEDGED_AT_ONCE]
            with self.explained(f"acknowledge {len(part)} messages of subscription {subscription}"):
                self.subscriber.acknowledge(
                    subscription=self.subscription(subscription), ack_ids=list(part), timeout=timeout, retry=None
                )

    def release(self, subscription: str, ack_ids: Sequence[str], *, timeout: float = _TIMEOUT_SECONDS) -> None:
        """Give deliveries back, to be made again at once.

        Raises:
            PubSubError: Pub/Sub did not take all of them; they come again after the acknowledgement deadline.
        """
        for first in range(0, len(ack_ids), _ACKNOWLEDGED_AT_ONCE):
            part = ack_ids[first : first + _ACKNOWLEDGED_AT_ONCE]
            with self.explained(f"give back {len(part)} messages of subscription {subscription}"):
                self.subscriber.modify_ack_deadline(
                    subscription=self.subscription(subscription),
                    ack_ids=list(part),
                    ack_deadline_seconds=0,
                    timeout=timeout,
                    retry=None,
                )

    def require_subscription(self, subscription: str, *, timeout: float = _TIMEOUT_SECONDS) -> None:
        """Ask for the subscription's description: an answer shows that Pub/Sub is there and knows it.

        Raises:
            PubSubError: It is not.
        """
        with self.explained(f"look at subscription {subscription}"):
            self.subscriber.get_subscription(subscription=self.subscription(subscription), timeout=timeout, retry=None)

    @contextmanager
    def explained(self, what: str) -> Iterator[None]:
        """Errors of Google's client inside become a `PubSubError` that says what was asked, of whom and what to do."""
        try:
            yield
        except (exceptions.GoogleAPIError, GoogleAuthError) as error:
            raise self._explain(error, what) from error

    def _explain(self, error: Exception, what: str) -> PubSubError:
        where = f"emulator {self.emulator}" if self.emulator else "Pub/Sub"
        asked = f"{where}, project {self.project}: cannot {what}: "
        told = getattr(error, "message", None) or str(error)
        if isinstance(error, exceptions.NotFound):
            return PubSubError(
                f"{asked}it does not exist. Create it: python -m mmt_assets pubsub setup (or infra/ with Terraform)"
            )
        if isinstance(error, exceptions.Unauthenticated | exceptions.PermissionDenied | GoogleAuthError):
            return PubSubError(
                f"{asked}{told}. Check the credentials (gcloud auth application-default login, or the service "
                f"account's roles in infra/messages.tf)"
            )
        if isinstance(error, exceptions.ResourceExhausted) and "larger than max" in told:
            return ReplyTooLargeError(f"{asked}{told}")
        if isinstance(error, exceptions.DeadlineExceeded | exceptions.RetryError):
            return NothingAnsweredError(f"{asked}no answer in time")
        return PubSubError(f"{asked}{told}")


@cache
def shared_client(project: str, emulator: str | None) -> PubSub:
    """This process's client of a project: connections are kept between calls."""
    return PubSub(project, emulator=emulator)
