"""What happens later: one thread that runs functions at their time."""

import heapq
import sys
import threading
import time
import traceback
from collections.abc import Callable
from itertools import count


class Agenda:
    """Functions with a time, each run once under the cloud's lock.

    Attributes:
        lock: Held while a function runs, so that a function sees no request half done.
    """

    def __init__(self, lock: "threading.RLock") -> None:
        self.lock = lock
        self._changed = threading.Condition()
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        threading.Thread(target=self._run, name="agenda", daemon=True).start()

    def after(self, seconds: float, function: Callable[[], None]) -> None:
        """Run `function` in so many seconds; a function that has become pointless must find that out itself."""
        with self._changed:
            heapq.heappush(self._entries, (time.monotonic() + max(seconds, 0), next(self._numbers), function))
            self._changed.notify()

    def _next(self) -> Callable[[], None]:
        with self._changed:
            while True:
                wait = self._entries[0][0] - time.monotonic() if self._entries else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._entries)[2]
                self._changed.wait(wait)

    def _run(self) -> None:
        while True:
            function = self._next()
            with self.lock:
                try:
                    function()
                except Exception:  # noqa: BLE001 - one function's error must not end the cloud's time
                    traceback.print_exc(file=sys.stderr)
