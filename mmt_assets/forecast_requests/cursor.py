"""What earlier ticks did, as the sensor's cursor keeps it: small, bounded, and enough to go on after any kill."""

from datetime import date

from pydantic import BaseModel, ConfigDict, Field, ValidationError

# Pub/Sub delivers a message again minutes after it was acknowledged at the latest. Ticks count, not hours: after an
# outage everything comes late.
_REMEMBERED_SECONDS = 3600.0
_REMEMBERED_MESSAGES = 5000
# The longest gap between two ticks that counts as time at work.
_LONGEST_GAP_SECONDS = 60.0
# Runs in the queue that are looked after; each takes about 150 bytes.
_MOST_WATCHED = 500


class CursorError(ValueError):
    """The cursor cannot be read; the message says what to do."""


class PendingRun(BaseModel):
    """A run that was asked for.

    Attributes:
        identities: Messages that wait for it to be there.
        asked_at: When Dagster was last asked for it (epoch seconds).
        published_at: When the oldest of the messages was published (epoch seconds).
        concert_id: Concert, for a concert's forecast.
        day: Day, for a day's run.
        rerun: Whether the day is made again on purpose.
        request_ids: Pub/Sub's ids of the messages that it was first asked for, for its tag.
        again: How often Dagster lost it before.
    """

    model_config = ConfigDict(extra="forbid")

    identities: list[str] = Field(default_factory=list)
    asked_at: float = 0.0
    published_at: float
    concert_id: str | None = None
    day: date | None = None
    rerun: bool = False
    request_ids: str = ""
    again: int = 0


class RequestCursor(BaseModel):
    """State between ticks. Times are seconds at work: gaps between ticks, outages left out.

    Attributes:
        pending: Runs that were asked for and are not there yet, by run key.
        watched: Runs that are there and have not ended, by run key.
        rejected: Messages whose rejection is recorded, since when; their dead letter comes next.
        answered: Messages that need nothing but an acknowledgement, by when they were answered.
        seconds_at_work: Seconds at work so far.
        ticked_at: When the last tick was (epoch seconds).
        dead_letters: Messages that were dead-lettered so far.
    """

    model_config = ConfigDict(extra="forbid")

    pending: dict[str, PendingRun] = Field(default_factory=dict)
    watched: dict[str, PendingRun] = Field(default_factory=dict)
    rejected: dict[str, float] = Field(default_factory=dict)
    answered: list[tuple[float, list[str]]] = Field(default_factory=list)
    seconds_at_work: float = 0.0
    ticked_at: float = 0.0
    dead_letters: int = 0

    @classmethod
    def load(cls, text: str | None, now: float) -> "RequestCursor":
        """Read the cursor of the tick before, and let time go on.

        Args:
            text: Cursor; None before the first tick.
            now: Epoch seconds.

        Raises:
            CursorError: It cannot be read.
        """
        try:
            cursor = cls.model_validate_json(text) if text else cls(ticked_at=now)
        except ValidationError as error:
            raise CursorError(
                f"the cursor cannot be read ({error.error_count()} faults): reset it in the UI (the sensor's page, "
                f"Reset cursor); requests that wait are then taken again, the last hour's may run twice"
            ) from None
        worked = cursor.seconds_at_work + min(max(now - cursor.ticked_at, 0.0), _LONGEST_GAP_SECONDS)
        cursor.seconds_at_work = round(worked, 1)
        cursor.ticked_at = now
        cursor.forget()
        return cursor

    def forget(self) -> None:
        """Drop what cannot be delivered any more: it was acknowledged by a tick that came to nothing, or long ago."""
        since = self.seconds_at_work - _REMEMBERED_SECONDS
        kept, count = list[tuple[float, list[str]]](), 0
        for at, identities in reversed(self.answered):
            if at >= since and count < _REMEMBERED_MESSAGES:
                kept.append((at, identities[: _REMEMBERED_MESSAGES - count]))
                count += len(identities)
        self.answered = kept[::-1]
        self.rejected = {identity: at for identity, at in self.rejected.items() if at >= since}

    def dump(self) -> str:
        """The cursor as text."""
        return self.model_dump_json(exclude_defaults=True)

    def run_keys_by_message(self) -> dict[str, str]:
        """Run key of every message that waits for its run."""
        return {identity: key for key, run in self.pending.items() for identity in run.identities}

    def answered_messages(self) -> set[str]:
        """Messages that need nothing but an acknowledgement."""
        return {identity for _, identities in self.answered for identity in identities}

    def answer(self, identities: list[str]) -> None:
        """These need nothing but an acknowledgement any more."""
        if identities:
            self.answered.append((self.seconds_at_work, identities))

    def settle(self, run_key: str) -> None:
        """The run is there: its messages are answered, and it is watched to its end."""
        run = self.pending.pop(run_key)
        self.answer(run.identities)
        if len(self.watched) < _MOST_WATCHED:
            self.watched[run_key] = run.model_copy(update={"identities": []})

    def dead_letter(self, identities: list[str]) -> None:
        """These have a dead letter and are acknowledged."""
        for identity in identities:
            del self.rejected[identity]
        self.dead_letters += len(identities)
        self.answer(identities)

    def oldest_published_at(self) -> float | None:
        """When the oldest message that waits for its run was published (epoch seconds)."""
        return min((run.published_at for run in self.pending.values()), default=None)
