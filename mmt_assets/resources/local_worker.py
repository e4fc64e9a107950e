"""A worker process on this machine, and the socket through which its run gives it work and heartbeats."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

_GRACE_SECONDS = 10.0
_STDOUT_AND_STDERR = (1, 2)


class LocalWorker:
    """`python -m mmt_assets.worker`, which loads everything and then waits for its work.

    It watches its end of the socket: when this process dies, however it dies, the other end closes and the worker ends.
    A session of its own keeps Ctrl-C for this process, and lets the worker end together with its children.
    """

    def __init__(self, heartbeat_seconds: float) -> None:
        self._socket, its_end = socket.socketpair()
        with its_end:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "mmt_assets.worker", f"--heartbeat-seconds={heartbeat_seconds}"],
                stdin=its_end.fileno(),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it lives."""
        return self._process.poll()

    def give_work(self, variables: Mapping[str, str]) -> None:
        """Give it the variables that name its work, and the output of now: the step's, which Dagster keeps."""
        line = json.dumps(dict(variables)).encode() + b"\n"
        # A worker that has just ended has closed the socket; its exit code is read next.
        with suppress(ConnectionError):
            socket.send_fds(self._socket, [line], _STDOUT_AND_STDERR)

    def send_heartbeat(self) -> None:
        """Say that the run is at work."""
        with suppress(ConnectionError):
            self._socket.sendall(b".")

    def wait(self, seconds: float) -> int:
        """Return its exit code.

        Raises:
            subprocess.TimeoutExpired: It is still at work after so many seconds.
        """
        return self._process.wait(seconds)

    def end(self) -> None:
        """Ask it to stop, then make it; nothing happens where it has ended."""
        if self.exit_code is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self.wait(_GRACE_SECONDS)
        self._socket.close()


def describe_exit(code: int) -> str:
    """How a process ended, in words."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
