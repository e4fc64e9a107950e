"""Everything that happened, with times, for checkers to read."""

import time
from typing import Any


class History:
    """Events of one project in the order they happened.

    An event is a dict: `at` (Unix time, seconds), `number` (from 0), `kind` and facts of that kind:

    call: method, zone, instance, status (HTTP), reason of a refusal, operation of a change.
    fault: call, fault, zone, instance.
    status: zone, instance, id (the machine's, new with each insert), was, now (None once it is gone), why, labels.
    script_started, script_ended: zone, instance, id, pid, code.
    guest: zone, instance, id, what (an attribute that was put, a request to power off).
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def record(self, kind: str, **facts: Any) -> None:
        self.events.append({"at": time.time(), "number": len(self.events), "kind": kind, **facts})
