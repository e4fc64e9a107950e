"""The worker's side of Pipes over Cloud Storage, for a worker on another machine than its run.

Dagster's own writer looks at the bucket itself, which the machine's identity may not; its upload thread dies without a
word; and it uploads every second or two. This one uploads what was said within half a second, repeats, and ends the
worker when it cannot report at all. The format is Dagster's: `<prefix>/<number>.json`, counted from 1.
"""

import json
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from queue import Empty, Queue
from typing import cast

from dagster_pipes import (
    PipesContextData,
    PipesContextLoader,
    PipesMessage,
    PipesMessageWriter,
    PipesMessageWriterChannel,
    PipesParams,
)
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from mmt_assets.gcp.storage import open_bucket
from mmt_assets.worker.link import MISSED_HEARTBEATS, RunLink, RunNotCurrentError

# Exit code of a worker that could not report.
CANNOT_REPORT = 75
# Object that the run writes anew with each of its heartbeats.
HEARTBEAT_OBJECT = "run"
_GATHER_SECONDS = 0.3
# Times that a worker with nothing to say shows that it lives, for each heartbeat of its run.
_SIGNS_PER_HEARTBEAT = 2
_RETRY = DEFAULT_RETRY.with_timeout(300.0)


def chunk_name(prefix: str, number: int) -> str:
    """Object that holds the chunk of this number, counted from 1."""
    return f"{prefix}/{number}.json"


def _bucket(params: PipesParams) -> storage.Bucket:
    return open_bucket(params["bucket"], endpoint=params.get("endpoint"))


class StorageContextLoader(PipesContextLoader):
    """Reads a context that is too large for the machine's metadata."""

    @contextmanager
    def load_context(self, params: PipesParams) -> Iterator[PipesContextData]:
        """Read the object that the parameters name."""
        yield json.loads(_bucket(params).blob(params["key"]).download_as_bytes(retry=_RETRY))


class StorageMessageWriter(PipesMessageWriter["StorageChannel"]):
    """Uploads what the worker says."""

    @contextmanager
    def open(self, params: PipesParams) -> Iterator["StorageChannel"]:
        """Upload until the session is over, then what is left."""
        silence = params["heartbeat_seconds"] / _SIGNS_PER_HEARTBEAT
        channel = StorageChannel(_bucket(params), params["key_prefix"], silence)
        thread = threading.Thread(target=channel.upload_all, daemon=True)
        thread.start()
        try:
            yield channel
        finally:
            channel.finish()
            thread.join()


class StorageChannel(PipesMessageWriterChannel):
    """A queue of messages and the thread that uploads them.

    Attributes:
        bucket: Where to.
        prefix: Prefix of the chunks.
        longest_silence: Seconds after which a worker that says nothing shows that it lives.
    """

    def __init__(self, bucket: storage.Bucket, prefix: str, longest_silence: float) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.longest_silence = longest_silence
        self._queue: Queue[PipesMessage | None] = Queue()

    def write_message(self, message: PipesMessage) -> None:
        """Take a message; it is uploaded in the background."""
        self._queue.put(message)

    def finish(self) -> None:
        """Nothing more comes."""
        self._queue.put(None)

    def upload_all(self) -> None:
        """Upload until `finish`; end the process when that is impossible, so that somebody learns of it."""
        try:
            number, is_over = 1, False
            while not is_over:
                messages, is_over = self._next_messages()
                # A chunk without messages says that the worker lives.
                if messages or not is_over:
                    self._upload(number, "\n".join(json.dumps(message) for message in messages) or "\n")
                    number += 1
        except BaseException:  # noqa: BLE001 - whatever it is, nobody would hear of it
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(CANNOT_REPORT)

    def _next_messages(self) -> tuple[list[PipesMessage], bool]:
        """What is said within a moment of the first word, or nothing after a long silence; and whether it is over."""
        messages = list[PipesMessage]()
        wait = self.longest_silence
        while True:
            try:
                message = self._queue.get(timeout=wait)
            except Empty:
                return messages, False
            if message is None:
                return messages, True
            messages.append(message)
            wait = _GATHER_SECONDS

    def _upload(self, number: int, text: str) -> None:
        blob = self.bucket.blob(chunk_name(self.prefix, number))
        try:
            # Only where there is nothing yet: that makes a repetition harmless.
            blob.upload_from_string(text, if_generation_match=0, retry=_RETRY)
        except PreconditionFailed:
            if blob.download_as_bytes(retry=_RETRY) != text.encode():
                raise RuntimeError(f"another worker reports at {self.prefix}: this one ends") from None


class StorageLink(RunLink):
    """Looks at the object that the run renews with each heartbeat; when it is old, the run may have been replaced."""

    def __init__(self, params: PipesParams) -> None:
        """Where the run's heartbeats are.

        Args:
            params: Bootstrap parameters of the messages.
        """
        super().__init__(params["heartbeat_seconds"])
        self._blob = _bucket(params).blob(f"{params['key_prefix']}/{HEARTBEAT_OBJECT}")

    def require_current(self) -> None:
        """Refuse to go on when the run has ended, or has been silent for three heartbeats.

        Raises:
            RunNotCurrentError: It has.
        """
        try:
            self._blob.reload(retry=_RETRY)
        except NotFound:
            raise RunNotCurrentError("the run has ended without this worker: nothing is written") from None
        silent = (datetime.now(UTC) - cast("datetime", self._blob.updated)).total_seconds()
        if silent > MISSED_HEARTBEATS * self.heartbeat_seconds:
            raise RunNotCurrentError(f"the run has been silent for {silent:.0f} s: it may have been replaced")
