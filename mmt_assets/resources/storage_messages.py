"""The run's side of Pipes over Cloud Storage, for a worker on another machine.

Dagster's own reader looks at the bucket itself, which the run's identity need not be allowed to; keeps its counter over
sessions; takes one chunk a second; and takes any error for silence. The format is the same: `<prefix>/<number>.json`.
"""

import json
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dagster as dg
from dagster._core.pipes.context import PipesMessageHandler
from dagster_pipes import PIPES_PROTOCOL_VERSION_FIELD, PipesContextData, PipesParams, encode_param
from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from requests import RequestException

from mmt_assets.worker.storage import HEARTBEAT_OBJECT, chunk_name

# Compute Engine takes 256 KiB for a value of metadata and 512 KB for all.
_LARGEST_CONTEXT_IN_METADATA = 200_000
_POLL_SECONDS = 0.5
_CALL_SECONDS = 10
_RETRY = DEFAULT_RETRY.with_timeout(10.0)
_CLOSE_SECONDS = 30.0


class StorageChannel:
    """Where a run and its worker meet in a bucket; the prefix is drawn anew for each session.

    Attributes:
        bucket: Bucket.
        endpoint: Address of a test server; None for Google's.
        heartbeat_seconds: How often the run says that it is at work.
        prefix: Prefix of all objects of the session.
    """

    def __init__(self, bucket: storage.Bucket, endpoint: str | None, heartbeat_seconds: float) -> None:
        self.bucket = bucket
        self.endpoint = endpoint
        self.heartbeat_seconds = heartbeat_seconds
        self.prefix = uuid.uuid4().hex

    def params(self) -> dict[str, Any]:
        """Bootstrap parameters that lead the worker here."""
        endpoint = {"endpoint": self.endpoint} if self.endpoint else {}
        return {"bucket": str(self.bucket.name), **endpoint}

    def say_at_work(self) -> None:
        """Renew the object that tells the worker that its run is current."""
        self.bucket.blob(f"{self.prefix}/{HEARTBEAT_OBJECT}").upload_from_string(
            "", timeout=_CALL_SECONDS, retry=_RETRY
        )

    def say_ended(self) -> None:
        """Take that object away: a worker that could not be stopped writes nothing then."""
        # Without it the object only grows old, which says the same three heartbeats later.
        with suppress(GoogleAPICallError, RequestException):
            self.bucket.blob(f"{self.prefix}/{HEARTBEAT_OBJECT}").delete(timeout=_CALL_SECONDS, retry=_RETRY)


class StorageContextInjector(dg.PipesContextInjector):
    """Gives the context in the parameters, or through the bucket where it is too large for a machine's metadata."""

    def __init__(self, channel: StorageChannel) -> None:
        self._channel = channel

    @contextmanager
    def inject_context(self, context_data: PipesContextData) -> Iterator[PipesParams]:
        """Give the context; what lies in the bucket is left to its lifecycle rule."""
        direct = {"data": context_data}
        if len(encode_param(direct)) <= _LARGEST_CONTEXT_IN_METADATA:
            yield direct
            return
        key = f"{self._channel.prefix}/context.json"
        self._channel.bucket.blob(key).upload_from_string(json.dumps(context_data))
        yield {**self._channel.params(), "key": key}

    def no_messages_debug_text(self) -> str:
        """What to tell when nothing was received."""
        return "The context is in the machine's metadata (dagster-pipes-context)."


class StorageMessageReader(dg.PipesMessageReader):
    """Reads the worker's chunks of one session, each as soon as it is there.

    Attributes:
        opened_at: When the worker said its first word (monotonic seconds); 0 before.
        closed_at: When it said its last; 0 before.
        closed: Set when it has said its last.
        exception: The exception that ended it: Pipes logs it but does not fail the step by it.
        trouble: Why nothing can be read at the moment, or None.
    """

    def __init__(self, channel: StorageChannel) -> None:
        self._channel = channel
        self._thread: threading.Thread | None = None
        # When the last sign of life was read, and when nothing more was there.
        self._last_sign = self._caught_up = time.monotonic()
        self.opened_at = self.closed_at = 0.0
        self.closed = threading.Event()
        self.exception: dict[str, Any] | None = None
        self.trouble: str | None = None

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Read in the background; at the end, everything that is there by then."""
        if self._thread is not None:
            raise RuntimeError("a reader serves one session: make a new one")
        over = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(handler, over), daemon=True)
        self._thread.start()
        try:
            yield {
                **self._channel.params(),
                "key_prefix": self._channel.prefix,
                "heartbeat_seconds": self._channel.heartbeat_seconds,
            }
        finally:
            over.set()
            self._thread.join(_CLOSE_SECONDS)

    @property
    def opened(self) -> bool:
        """Whether the worker has said its first word."""
        return self.opened_at > 0

    def silent_seconds(self) -> float:
        """Seconds since the last sign of life, or since the beginning."""
        return time.monotonic() - self._last_sign

    def drain(self, seconds: float) -> bool:
        """Wait until everything that is there now has been read.

        Args:
            seconds: How long to wait.

        Returns:
            Whether the worker's last word was among it.
        """
        asked = time.monotonic()
        while not self.closed.is_set() and self._caught_up <= asked and time.monotonic() - asked < seconds:
            self.closed.wait(_POLL_SECONDS / 2)
        return self.closed.is_set()

    def no_messages_debug_text(self) -> str:
        """What to tell when nothing was received."""
        return f"gs://{self._channel.bucket.name}/{self._channel.prefix}/ was read: {self.trouble or 'it is empty'}."

    def _read(self, handler: PipesMessageHandler, over: threading.Event) -> None:
        number = 1
        while not self.closed.is_set():
            # Looked at first: what was there when the session ended is read to the end.
            is_last_look, looked_at = over.is_set(), time.monotonic()
            try:
                blob = self._channel.bucket.blob(chunk_name(self._channel.prefix, number))
                chunk = blob.download_as_bytes(timeout=_CALL_SECONDS, retry=_RETRY)
            except NotFound:
                self._caught_up, self.trouble = looked_at, None
            except Exception as error:  # noqa: BLE001 - told in the run's failure if it lasts
                self.trouble = f"{type(error).__name__}: {error}"
            else:
                self._last_sign, self.trouble, number = time.monotonic(), None, number + 1
                self._handle(handler, chunk.decode())
                continue
            if is_last_look:
                return
            over.wait(_POLL_SECONDS)

    def _handle(self, handler: PipesMessageHandler, chunk: str) -> None:
        for line in filter(str.strip, chunk.split("\n")):
            try:
                message = json.loads(line)
                if PIPES_PROTOCOL_VERSION_FIELD in message:
                    handler.handle_message(message)
                    self._note(message["method"], message.get("params") or {})
            except Exception:  # noqa: BLE001 - one message that cannot be read must not silence the rest
                handler.report_pipes_framework_exception("StorageMessageReader", sys.exc_info())

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "opened":
            self.opened_at = time.monotonic()
        elif method == "closed":
            self.closed_at = time.monotonic()
            self.exception = params.get("exception")
            self.closed.set()
