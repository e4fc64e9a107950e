"""Long-running operations: what a change answers at once, and whether it is done yet."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


def timestamp(seconds: float | None = None) -> str:
    """RFC 3339, as the API writes it."""
    return datetime.fromtimestamp(time.time() if seconds is None else seconds, UTC).isoformat(timespec="milliseconds")


@dataclass
class Operation:
    """One change of one resource.

    Attributes:
        number: The id; digits only.
        scope: `zones/Z`, `regions/R` or `global`.
        kind: Operation type.
        base: Address of the project's resources.
        target: Path of the resource below the project.
        target_id: Its id.
        ready_at: Not done before (monotonic).
        is_done: Whether the work behind it has come to its end.
        error: Code and message of one that failed.
        user: Who asked for it.
    """

    number: str
    scope: str
    kind: str
    base: str
    target: str
    target_id: str
    ready_at: float
    is_done: Callable[[], bool] = lambda: True
    error: tuple[str, str] | None = None
    user: str = "tests@localhost"
    inserted_at: float = field(default_factory=time.time)
    ended_at: float | None = None

    @property
    def name(self) -> str:
        return f"operation-{self.number}"

    def settle(self) -> bool:
        """Whether it is done; remembers when that was first seen."""
        if self.ended_at is None and time.monotonic() >= self.ready_at and self.is_done():
            self.ended_at = time.time()
        return self.ended_at is not None

    def resource(self) -> dict[str, Any]:
        is_done = self.settle()
        told: dict[str, Any] = {
            "kind": "compute#operation",
            "id": self.number,
            "name": self.name,
            "operationType": self.kind,
            "targetLink": f"{self.base}/{self.target}",
            "targetId": self.target_id,
            "status": "DONE" if is_done else "RUNNING",
            "progress": 100 if is_done else 0,
            "user": self.user,
            "insertTime": timestamp(self.inserted_at),
            "startTime": timestamp(self.inserted_at),
            "selfLink": f"{self.base}/{self.scope}/operations/{self.name}",
        }
        place = self.scope.partition("/")[0]
        if place in ("zones", "regions"):
            told[place.removesuffix("s")] = f"{self.base}/{self.scope}"
        if is_done:
            told["endTime"] = timestamp(self.ended_at)
        if is_done and self.error:
            code, message = self.error
            # No httpErrorStatusCode: a client that looks only there takes this for a success.
            told["error"] = {"errors": [{"code": code, "message": message}]}
        return told
