"""Where the heavy work runs: one call, `run(context, job)`, whatever the machine behind it."""

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
from pydantic import PrivateAttr

from mmt_assets.resources.local_worker import LocalWorker, describe_exit
from mmt_assets.spark.session import LOCAL_MASTER_PREFIX
from mmt_assets.warehouse import WarehouseBusyError
from mmt_assets.worker.job import WorkerJob


@dataclass(frozen=True)
class Outcome:
    """What the worker reported.

    Attributes:
        results: Materialisations and checks, to be yielded by the asset.
        messages: Custom messages, in order.
        seconds: Seconds from when the worker got its work to its end.
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


def remote_failure(exception: dict[str, Any]) -> dg.Failure | WarehouseBusyError:
    """A step failure that shows the worker's own traceback; a busy warehouse stays one, because it is retried."""
    if exception.get("name") == WarehouseBusyError.__name__:
        return WarehouseBusyError(str(exception.get("message")).strip())
    traceback = "".join(exception.get("stack") or []) + f"{exception.get('name')}: {exception.get('message')}"
    return dg.Failure(
        f"the worker failed: {exception.get('name')}: {str(exception.get('message')).strip()}",
        metadata={"remote_traceback": dg.MetadataValue.md(f"```\n{traceback}\n```")},
        allow_retries=False,
    )


class RetryableFailure(dg.Failure):
    """The machine or the cloud was at fault, not the input: the same run may succeed when it is launched again."""


class ComputeResource(dg.ConfigurableResource, ABC):
    """Runs `python -m mmt_assets.worker` somewhere, for the length of one `run` call."""

    @abstractmethod
    def run(self, context: dg.AssetExecutionContext, job: WorkerJob) -> Outcome:
        """Do the job; log lines and progress reach the run's log while it works.

        Raises:
            dagster.Failure: The worker raised (with its traceback), died or took too long, or the run was ended.
            WarehouseBusyError: Another process held the warehouse.
        """


class LocalProcess(ComputeResource):
    """The worker as a subprocess of the run, which dies with it.

    Attributes:
        timeout_seconds: Longest time that the worker may take.
        heartbeat_seconds: How often the run says, in its log and to the worker, that it is at work.
        starts_with_run: Start the worker when the run starts, so that it has loaded the models when their step comes.
    """

    timeout_seconds: float = 6 * 3600.0
    heartbeat_seconds: float = 60.0
    starts_with_run: bool = False
    _early: LocalWorker | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Called by Dagster before the first step of a run that will need a worker."""
        del context
        if self.starts_with_run:
            self._early = LocalWorker(self.heartbeat_seconds)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Called by Dagster at the end of the run: ends a worker that got no work."""
        del context
        if self._early is not None:
            self._early.end()

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
            code = self._work(context, {**session.get_bootstrap_env_vars(), **_spark_environment(job)})
        if reader.exception:
            raise remote_failure(reader.exception)
        if code != 0:
            raise dg.Failure(
                f"the worker {describe_exit(code)}; its output is in the step's stderr, "
                "or in the run's own where it never got to its work"
            )
        results = session.get_results(implicit_materializations=False)
        return Outcome(results, session.get_custom_messages(), time.monotonic() - started)

    def _take_worker(self, context: dg.AssetExecutionContext) -> LocalWorker:
        """Return the worker that was started with the run, or a new one: each does one piece of work."""
        early, self._early = self._early, None
        if early is None:
            return LocalWorker(self.heartbeat_seconds)
        if (code := early.exit_code) is None:
            return early
        context.log.warning(f"the worker that started with the run {describe_exit(code)}: another one is started")
        early.end()
        return LocalWorker(self.heartbeat_seconds)

    def _work(self, context: dg.AssetExecutionContext, variables: Mapping[str, str]) -> int:
        """Give the work to a worker and wait for its exit code."""
        worker = self._take_worker(context)
        try:
            worker.give_work(variables)
            return self._wait(context, worker)
        finally:
            worker.end()

    def _wait(self, context: dg.AssetExecutionContext, worker: LocalWorker) -> int:
        """Wait for the worker's exit code, with a heartbeat now and then."""
        started = time.monotonic()
        while (left := self.timeout_seconds - (time.monotonic() - started)) > 0:
            try:
                return worker.wait(min(left, self.heartbeat_seconds))
            except subprocess.TimeoutExpired:
                say_at_work(context, time.monotonic() - started)
                worker.send_heartbeat()
        raise dg.Failure(f"the worker took longer than {self.timeout_seconds:g} s (MMT_WORKER_TIMEOUT_SECONDS)")


def _spark_environment(job: WorkerJob) -> dict[str, str]:
    """Give Spark's executors this Python, and keep those of this machine on its loopback address."""
    if job.spark_master is None:
        return {}
    is_local = job.spark_master.startswith(LOCAL_MASTER_PREFIX)
    return {"PYSPARK_PYTHON": sys.executable} | ({"SPARK_LOCAL_IP": "127.0.0.1"} if is_local else {})


def say_at_work(context: dg.AssetExecutionContext, seconds: float) -> None:
    """Say in the run's log that it has been at work for so many seconds.

    Raises:
        dagster.Failure: Dagster says that the run has ended, so nobody waits for the worker any more.
    """
    run = context.instance.get_run_by_id(context.run.run_id)
    if run is None or run.is_finished:
        ended = run.status.value.lower() if run else "deleted"
        raise dg.Failure(f"run {context.run.run_id} was ended from outside ({ended}): the worker is stopped")
    context.instance.report_engine_event(f"The run has been at work for {seconds:.0f} s", run)
