"""The worker's link to its run: the run says over a socket that it is current, and its end ends the worker."""

import json
import math
import os
import signal
import socket
import threading
import time
from queue import SimpleQueue

# A run that missed this many of its heartbeats is not trusted any more.
MISSED_HEARTBEATS = 3


class RunNotCurrentError(Exception):
    """The run has not confirmed for long that it is still at work; nothing was written."""


class RunLink:
    """Watches the socket to the run: its first line is the work, then a byte is a heartbeat, its end is the run's end.

    The run sends a heartbeat only after it has seen in Dagster's instance that it was not ended meanwhile.

    Attributes:
        heartbeat_seconds: How often the run sends one.
    """

    def __init__(self, heartbeat_seconds: float) -> None:
        self.heartbeat_seconds = heartbeat_seconds
        self._last = time.monotonic()
        self._work: SimpleQueue[tuple[bytes, list[int]]] = SimpleQueue()

    def watch(self) -> None:
        """Read stdin, a socket, in the background; kill this process and its children when the run's end closes."""
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for_work(self) -> dict[str, str]:
        """Return the variables that name the work, called once; from then on the output goes where the run's goes.

        It waits as long as the run lives.
        """
        line, outputs = self._work.get()
        for stream, output in zip((1, 2), outputs, strict=True):
            os.dup2(output, stream)
            os.close(output)
        return json.loads(line.partition(b"\n")[0])

    def _read(self) -> None:
        try:
            # A copy: closing it must not close stdin.
            with socket.socket(fileno=os.dup(0)) as run:
                line, outputs = b"", list[int]()
                while b"\n" not in line:
                    received, passed, _, _ = socket.recv_fds(run, 65_536, 2)
                    if not received:
                        return
                    line, outputs = line + received, [*outputs, *passed]
                self._last = time.monotonic()
                self._work.put((line, outputs))
                while run.recv(1024):
                    self._last = time.monotonic()
        finally:
            # Whatever ended the reading: a worker that does not hear its run must not go on.
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
