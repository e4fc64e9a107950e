"""What a tick says of itself: one line for its message and its log, numbers for the queue's asset."""

from dataclasses import dataclass, field


@dataclass
class TickReport:
    """What a tick did, in messages unless it says otherwise.

    Attributes:
        pulled: Deliveries.
        runs: Runs that were asked for.
        launched: Answered by these runs.
        joined: Answered by a run that was there or asked for already.
        duplicate: Delivered again after they were answered.
        rejected: Can never be done.
        dead_lettered: Rejected in an earlier tick, now in the dead-letter topic.
        acknowledged: Done with.
        waiting: In hand, nothing can be said or done about them yet.
        pending: Wait for the run that was asked for.
        is_drained: Whether no more waited with Pub/Sub.
        oldest_seconds: Age of the oldest message that is not answered, of those known here.
        seconds: How long the tick took.
        notes: What a person should know besides.
    """

    pulled: int = 0
    runs: int = 0
    launched: int = 0
    joined: int = 0
    duplicate: int = 0
    rejected: int = 0
    dead_lettered: int = 0
    acknowledged: int = 0
    waiting: int = 0
    pending: int = 0
    is_drained: bool = True
    oldest_seconds: float = 0.0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.pulled or self.runs or self.acknowledged or self.waiting or self.rejected)

    def sentence(self) -> str:
        """The report as one line."""
        unanswered = self.waiting + self.pending
        backlog = f"{unanswered}" if self.is_drained else f"more than {unanswered}"
        told = (
            f"pulled {self.pulled}, launched {self.launched} (in {self.runs} runs), joined {self.joined}, "
            f"duplicate {self.duplicate}, rejected {self.rejected}, pending {self.pending}, waiting {self.waiting}, "
            f"acknowledged {self.acknowledged}, dead-lettered {self.dead_lettered}; "
            f"backlog {backlog}, oldest {self.oldest_seconds:.0f} s; took {self.seconds:.1f} s"
        )
        return "; ".join([told, *self.notes])

    def metadata(self, dead_letters: int) -> dict[str, int | float | bool | str]:
        """The report for the queue's asset."""
        return {
            "pulled": self.pulled,
            "runs": self.runs,
            "launched": self.launched,
            "joined": self.joined,
            "duplicate": self.duplicate,
            "rejected": self.rejected,
            "pending": self.pending,
            "waiting": self.waiting,
            "acknowledged": self.acknowledged,
            "backlog": self.waiting + self.pending,
            "backlog_is_complete": self.is_drained,
            "oldest_unanswered_seconds": round(self.oldest_seconds, 1),
            "tick_seconds": round(self.seconds, 2),
            "dead_letters_total": dead_letters,
        }
