"""What earlier ticks did, as the sensor's cursor keeps it: small, bounded, and enough to go on after any kill."""

from datetime import date

from pydantic import BaseModel, ConfigDict, Field, ValidationError

# Pub/Sub delivers a message again minutes after it was acknowledged at the latest. Ticks count, not hours: after an
# outage everything comes late.
_REMEMBERED_SECONDS = 3600.0
_REMEMBERED_MESSAGES = 5000
# The longest gap between two ticks that counts as time at work.
_LONGEST_GAP_SECONDS = 60.0
# After which Pub/Sub itself has forgotten a message that was never acknowledged, and a day more.
_FORGOTTEN_SECONDS = 8 * 86_400.0


class CursorError(ValueError):
    """The cursor cannot be read; the message says what to do."""


class PendingRun(BaseModel):
    """A run that was asked for and of which nothing is known yet.

    Attributes:
        identities: Messages that it answers.
        asked_at: When Dagster was last asked for it (epoch seconds).
        published_at: When the oldest of the messages was published (epoch seconds).
        concert_id: Concert, for a concert's forecast.
        day: Day, for a day's run.
        rerun: Whether the day is made again on purpose.
        request_ids: Pub/Sub's ids of the messages that it was first asked for, for its tag.
    """

    model_config = ConfigDict(extra="forbid")

    identities: list[str]
    asked_at: float
    published_at: float
    concert_id: str | None = None
    day: date | None = None
    rerun: bool = False
    request_ids: str = ""


class RequestCursor(BaseModel):
    """State between ticks.

    Attributes:
        pending: Runs that were asked for, by run key.
        rejected: Messages whose rejection is recorded; their dead letter and acknowledgement come next. Since when.
        settled: Messages that are answered but not acknowledged yet. Since when.
        acknowledged: Messages that were acknowledged, by the seconds at work at which they were.
        seconds_at_work: Seconds at work so far: gaps between ticks, outages left out.
        ticked_at: When the last tick was (epoch seconds).
        dead_letters: Messages that were dead-lettered so far.
    """

    model_config = ConfigDict(extra="forbid")

    pending: dict[str, PendingRun] = Field(default_factory=dict)
    rejected: dict[str, float] = Field(default_factory=dict)
    settled: dict[str, float] = Field(default_factory=dict)
    acknowledged: list[tuple[float, list[str]]] = Field(default_factory=list)
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
        cursor.seconds_at_work += min(max(now - cursor.ticked_at, 0.0), _LONGEST_GAP_SECONDS)
        cursor.ticked_at = now
        cursor.forget(now)
        return cursor

    def forget(self, now: float) -> None:
        """Drop what cannot be delivered any more."""
        since = self.seconds_at_work - _REMEMBERED_SECONDS
        kept, count = list[tuple[float, list[str]]](), 0
        for at, identities in reversed(self.acknowledged):
            if at >= since and count < _REMEMBERED_MESSAGES:
                kept.append((at, identities[: _REMEMBERED_MESSAGES - count]))
                count += len(identities)
        self.acknowledged = kept[::-1]
        self.rejected = {name: at for name, at in self.rejected.items() if now - at < _FORGOTTEN_SECONDS}
        self.settled = {name: at for name, at in self.settled.items() if now - at < _FORGOTTEN_SECONDS}

    def dump(self) -> str:
        """The cursor as text."""
        return self.model_dump_json(exclude_defaults=True)

    def run_keys_by_message(self) -> dict[str, str]:
        """Run key of every message that waits for its run."""
        return {identity: key for key, run in self.pending.items() for identity in run.identities}

    def answered(self) -> set[str]:
        """Messages that need nothing but an acknowledgement."""
        return set(self.settled).union(*(identities for _, identities in self.acknowledged))

    def settle(self, run_key: str, now: float) -> None:
        """The run is there: its messages are answered."""
        self.settled |= dict.fromkeys(self.pending.pop(run_key).identities, now)

    def acknowledge(self, identities: list[str]) -> None:
        """These were acknowledged; the rejected ones among them have a dead letter."""
        for identity in identities:
            self.settled.pop(identity, None)
            self.dead_letters += self.rejected.pop(identity, None) is not None
        if identities:
            self.acknowledged.append((round(self.seconds_at_work, 1), identities))

    def oldest_published_at(self) -> float | None:
        """When the oldest message that waits for its run was published (epoch seconds)."""
        return min((run.published_at for run in self.pending.values()), default=None)
