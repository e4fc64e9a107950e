"""The worker's link to its run: the run says over a pipe that it is current, and its end ends the worker."""

import json
import math
import os
import signal
import threading
import time
from queue import SimpleQueue

# A run that missed this many of its heartbeats is not trusted any more.
MISSED_HEARTBEATS = 3


class RunNotCurrentError(Exception):
    """The run has not confirmed for long that it is still at work; nothing was written."""


class RunLink:
    """Watches the pipe from the run: its first line is the work, then a byte is a heartbeat, its end is the run's end.

    The run sends a heartbeat only after it has seen in Dagster's instance that it was not ended meanwhile.

    Attributes:
        heartbeat_seconds: How often the run sends one.
    """

    def __init__(self, heartbeat_seconds: float) -> None:
        self.heartbeat_seconds = heartbeat_seconds
        self._last = time.monotonic()
        self._work: SimpleQueue[dict[str, str]] = SimpleQueue()

    def watch(self) -> None:
        """Read stdin in the background; kill this process and its children when the pipe closes."""
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for_work(self) -> dict[str, str]:
        """Return the variables that name the work, as soon as the run has them; called once."""
        return self._work.get()

    def _read(self) -> None:
        first_line, is_complete = b"", b""
        # Unbuffered: a thread inside sys.stdin would keep the interpreter from shutting down.
        while received := os.read(0, 65_536):
            self._last = time.monotonic()
            if not is_complete:
                first_line, is_complete, _ = (first_line + received).partition(b"\n")
                if is_complete:
                    self._work.put(json.loads(first_line))
        os.killpg(0, signal.SIGKILL)

    def require_current(self) -> None:
        """Refuse to go on when the run has been silent for three heartbeats.

        Raises:
            RunNotCurrentError: It has.
        """
        silent = time.monotonic() - self._last
        if silent > MISSED_HEARTBEATS * self.heartbeat_seconds:
            raise RunNotCurrentError(f"the run has been silent for {silent:.0f} s: it may have been replaced")


# Where nobody sends heartbeats: the write's own fence is the guard.
UNLINKED = RunLink(math.inf)
