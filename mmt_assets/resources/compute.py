"""Where the heavy work runs: one call, `run(context, job)`, whatever the machine behind it."""

import signal
import subprocess
import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.pipes.context import PipesMessageHandler
from dagster_pipes import PipesMessage, PipesParams

from mmt_assets.worker.job import WorkerJob

_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Outcome:
    """What the worker reported.

    Attributes:
        results: Materialisations and checks, to be yielded by the asset.
        messages: Custom messages, in order.
        seconds: Seconds that the worker ran.
    """

    results: Sequence[dg.MaterializeResult | dg.AssetCheckResult]
    messages: Sequence[dict[str, Any]]
    seconds: float


class RemoteExceptionReader(dg.PipesMessageReader):
    """A message reader that also keeps the worker's exception: Pipes logs it but does not fail the step by it."""

    def __init__(self, reader: dg.PipesMessageReader) -> None:
        self._reader = reader
        self.exception: dict[str, Any] | None = None

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Read through the wrapped reader, looking at each message on its way."""
        handle = handler.handle_message

        def look_and_handle(message: PipesMessage) -> None:
            if message["method"] == "closed":
                self.exception = (message.get("params") or {}).get("exception")
            handle(message)

        # Pipes offers no hook for the closing message.
        handler.handle_message = look_and_handle
        with self._reader.read_messages(handler) as params:
            yield params

    def no_messages_debug_text(self) -> str:
        """What to tell when nothing was received."""
        return self._reader.no_messages_debug_text()


def remote_failure(exception: dict[str, Any]) -> dg.Failure:
    """A step failure that shows the worker's own traceback."""
    traceback = "".join(exception.get("stack") or []) + f"{exception.get('name')}: {exception.get('message')}"
    return dg.Failure(
        f"the worker failed: {exception.get('name')}: {str(exception.get('message')).strip()}",
        metadata={"remote_traceback": dg.MetadataValue.md(f"```\n{traceback}\n```")},
        allow_retries=False,
    )


class ComputeResource(dg.ConfigurableResource, ABC):
    """Runs `python -m mmt_assets.worker` somewhere, for the length of one `run` call."""

    @abstractmethod
    def run(self, context: dg.AssetExecutionContext, job: WorkerJob) -> Outcome:
        """Do the job; log lines and progress reach the run's log while it works.

        Raises:
            dagster.Failure: The worker raised (with its traceback), died or took too long.
        """


class LocalProcess(ComputeResource):
    """The worker as a subprocess of the run, which dies with it.

    Attributes:
        timeout_seconds: Longest time that the worker may take.
    """

    timeout_seconds: float = 6 * 3600.0

    def run(self, context: dg.AssetExecutionContext, job: WorkerJob) -> Outcome:
        """Do the job in a subprocess, see `ComputeResource.run`."""
        # How many writers a Pipes session may have is a preview in Dagster; the lock pins its version.
        warnings.filterwarnings("ignore", category=dg.PreviewWarning, module="dagster._core.pipes")
        started = time.monotonic()
        reader = RemoteExceptionReader(dg.PipesTempFileMessageReader(include_stdio_in_messages=False))
        with dg.open_pipes_session(
            context=context.op_execution_context,
            context_injector=dg.PipesTempFileContextInjector(),
            message_reader=reader,
            extras={"job": job.model_dump(mode="json")},
        ) as session:
            code = self._run_process(session.get_bootstrap_env_vars())
        if reader.exception:
            raise remote_failure(reader.exception)
        if code != 0:
            raise dg.Failure(f"the worker {_describe_exit(code)}; its output is in the step's stderr")
        results = session.get_results(implicit_materializations=False)
        return Outcome(results, session.get_custom_messages(), time.monotonic() - started)

    def _run_process(self, pipes_environment: Mapping[str, str]) -> int:
        bootstrap = [f"{name}={value}" for name, value in pipes_environment.items()]
        # The worker watches its stdin: when this process dies, however it dies, the pipe closes and the worker ends.
        # A session of its own keeps Ctrl-C for this process, and lets the worker end together with its children.
        with subprocess.Popen(  # noqa: S603 - our own module
            ["/usr/bin/env", *bootstrap, sys.executable, "-m", "mmt_assets.worker", "--with-parent"],
            stdin=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                return process.wait(self.timeout_seconds)
            except subprocess.TimeoutExpired:
                raise dg.Failure(
                    f"the worker took longer than {self.timeout_seconds:g} s (MMT_WORKER_TIMEOUT_SECONDS)"
                ) from None
            finally:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the worker to stop, then make it."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _describe_exit(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
