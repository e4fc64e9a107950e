"""What this process holds of Pub/Sub: a cache, which a process that dies takes with it and redelivery fills again."""

import threading
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache

from mmt_assets.forecast_requests.judge import ConcertBook, Rejected, WantedConcert, WantedDay, read_message
from mmt_assets.gcp.pubsub import Message
from mmt_assets.settings import Settings

# So many messages are held at most; the others wait with Pub/Sub.
MOST_HELD = 2000
_LONGEST_DEAD_LETTER_BYTES = 64_000
_REMEMBERED = 5000


@dataclass
class Delivery:
    """A message that was delivered and is not acknowledged.

    Attributes:
        identity: `Message.identity`.
        message_id: Pub/Sub's id.
        published_at: When it was published (UTC).
        ack_id: What acknowledges its newest delivery; empty when that is not to be trusted any more.
        wanted: What it asks for, or why that can never be done.
        data: Its first 64,000 bytes.
        size: Bytes of its content.
    """

    identity: str
    message_id: str
    published_at: datetime
    ack_id: str
    wanted: WantedConcert | WantedDay | Rejected
    data: bytes = field(repr=False)
    size: int


class Hand:
    """Deliveries that this process has not acknowledged, and what it knows besides.

    Attributes:
        deliveries: By the message's identity.
        concerts: The concerts as they were last read.
        lock: Held by the evaluation at work: a daemon that is started again does not wait for the one before.
    """

    def __init__(self) -> None:
        self.deliveries: dict[str, Delivery] = {}
        self.concerts = ConcertBook()
        self.lock = threading.Lock()
        self._acknowledged: dict[str, None] = {}
        self._dead_lettered: dict[str, None] = {}

    def take(self, message: Message, settings: Settings, now: datetime) -> bool:
        """Hold a message; returns whether it was not held yet. A later delivery replaces what acknowledges it."""
        identity = message.identity
        if held := self.deliveries.get(identity):
            held.ack_id = message.ack_id
            return False
        self.deliveries[identity] = Delivery(
            identity=identity,
            message_id=message.message_id,
            published_at=message.published_at,
            ack_id=message.ack_id,
            wanted=read_message(message, settings, now),
            data=message.data[:_LONGEST_DEAD_LETTER_BYTES],
            size=len(message.data),
        )
        return True

    def acknowledged(self, identities: list[str]) -> None:
        """These are done with."""
        self.let_go(identities)
        _remember(self._acknowledged, identities)

    def let_go(self, identities: list[str]) -> None:
        """Hold these no longer: what was not acknowledged is delivered again."""
        for identity in identities:
            del self.deliveries[identity]

    def trust_no_ack_id(self) -> None:
        """After a fault: who answers next may not know them, or mean other messages by them (an emulator does)."""
        for delivery in self.deliveries.values():
            delivery.ack_id = ""

    def was_acknowledged(self, identity: str) -> bool:
        """Whether this process acknowledged it, even if the tick that did so came to nothing."""
        return identity in self._acknowledged

    def dead_lettered(self, identities: list[str]) -> None:
        """The dead letters of these are published."""
        _remember(self._dead_lettered, identities)

    def was_dead_lettered(self, identity: str) -> bool:
        """Whether this process published its dead letter, even if the tick that did so came to nothing."""
        return identity in self._dead_lettered

    def let_go_of_rejected(self) -> None:
        """Hold rejected messages no longer: they are delivered again after the acknowledgement deadline."""
        self.let_go([name for name, held in self.deliveries.items() if isinstance(held.wanted, Rejected)])


def _remember(known: dict[str, None], identities: list[str]) -> None:
    """Add to what is known, oldest first, and forget what is too much."""
    known |= dict.fromkeys(identities)
    for identity in list(known)[: max(0, len(known) - _REMEMBERED)]:
        del known[identity]


@cache
def hand_of(project: str, emulator: str | None) -> Hand:
    """This process's hand for a project."""
    del project, emulator
    return Hand()
