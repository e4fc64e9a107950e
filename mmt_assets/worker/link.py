"""The worker's link to its run: the run says over a pipe that it is current, and its end ends the worker."""

import math
import os
import signal
import threading
import time

# A run that missed this many of its heartbeats is not trusted any more.
MISSED_HEARTBEATS = 3


class RunNotCurrentError(Exception):
    """The run has not confirmed for long that it is still at work; nothing was written."""


class RunLink:
    """Watches the pipe from the run: a byte is a heartbeat, its end is the run's end.

    The run sends a heartbeat only after it has seen in Dagster's instance that it was not ended meanwhile.

    Attributes:
        heartbeat_seconds: How often the run sends one.
    """

    def __init__(self, heartbeat_seconds: float) -> None:
        self.heartbeat_seconds = heartbeat_seconds
        self._last = time.monotonic()

    def watch(self) -> None:
        """Read heartbeats from stdin in the background; kill this process and its children when the pipe closes."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        # Unbuffered: a thread inside sys.stdin would keep the interpreter from shutting down.
        while os.read(0, 1024):
            self._last = time.monotonic()
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
