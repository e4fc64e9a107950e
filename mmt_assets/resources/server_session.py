"""One job on an analysis server: a machine, a Pipes session over Cloud Storage, and the machine's end."""

import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from itertools import count

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from requests import RequestException

from mmt_assets.gcp.pubsub_setup import VM_EVENTS
from mmt_assets.gcp.storage import open_bucket
from mmt_assets.resources.compute import Outcome, RetryableFailure, remote_failure
from mmt_assets.resources.compute_engine import open_client
from mmt_assets.resources.machine_lease import MachineLease
from mmt_assets.resources.machine_watch import Limits, MachineLostError, MachineWatch
from mmt_assets.resources.storage_messages import StorageChannel, StorageContextInjector, StorageMessageReader
from mmt_assets.resources.vm_sessions import links
from mmt_assets.setting_groups.analysis_server import AnalysisServerSettings
from mmt_assets.worker.job import WorkerJob

_FULL_SHA = 40
# A call while watching: heartbeats wait for it.
_WATCH_PATIENCE_SECONDS = 5.0
_LEAST_WORK_SECONDS = 30


def run_on_server(
    context: dg.AssetExecutionContext,
    job: WorkerJob,
    settings: AnalysisServerSettings,
    *,
    heartbeat_seconds: float,
    timeout_seconds: float,
    module: str,
) -> Outcome:
    """Do a job on a machine of its own. One that is taken away is replaced, once, by one on demand.

    Args:
        context: The run's context.
        job: The job.
        settings: Settings.
        heartbeat_seconds: How often the run says that it is at work.
        timeout_seconds: Longest time that the worker may take.
        module: Python module that is the worker.

    Raises:
        dagster.Failure: See `ComputeResource.run`; with links to the logs and the machine.
    """
    # How many writers a Pipes session may have is a preview in Dagster; the lock pins its version.
    warnings.filterwarnings("ignore", category=dg.PreviewWarning, module="dagster._core.pipes")
    numbers = count(1)
    for allow_spot in (True, False) if settings.vm_spot else (False,):
        session = _ServerSession(context, job, settings, numbers, heartbeat_seconds, timeout_seconds, module)
        try:
            return session.run(allow_spot=allow_spot)
        except dg.Failure as failure:
            if allow_spot and isinstance(failure, MachineLostError):
                context.log.warning(f"{failure.description}; the job begins again on a machine on demand")
                continue
            failure.metadata = {**failure.metadata, **session.metadata()}
            raise
    raise AssertionError("the last machine returns or raises")


class _ServerSession:
    """One machine and what its worker says."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        job: WorkerJob,
        settings: AnalysisServerSettings,
        numbers: Iterator[int],
        heartbeat_seconds: float,
        timeout_seconds: float,
        module: str,
    ) -> None:
        self._context = context
        # The machine has cores of its own, and no disk that anybody reads afterwards.
        self._job = job.elsewhere()
        self._settings = settings
        self._heartbeat_seconds = heartbeat_seconds
        self._timeout_seconds = timeout_seconds
        self._module = module
        self._lease = MachineLease(context, open_client(settings), settings, numbers)

    def run(self, *, allow_spot: bool) -> Outcome:
        """Start the machine, wait for its worker, end the machine; see `run_on_server`."""
        git_metadata = self._source_code()
        channel = self._open_channel()
        reader = StorageMessageReader(channel)
        parts = dict[str, float]()
        with dg.open_pipes_session(
            context=self._context.op_execution_context,
            context_injector=StorageContextInjector(channel),
            message_reader=reader,
            extras={"job": self._job.model_dump(mode="json")},
        ) as pipes:
            metadata = {**self._run_metadata(pipes.get_bootstrap_env_vars()), **git_metadata}
            began = time.monotonic()
            try:
                machine = self._lease.start(metadata, allow_spot=allow_spot)
                self._context.log.info(f"{machine.zone}/{machine.name} was started ({machine.provisioning})")
                parts["machine_start_seconds"] = time.monotonic() - began
                watch_client = open_client(self._settings, patience=_WATCH_PATIENCE_SECONDS)
                MachineWatch(self._context, watch_client, channel, reader, self._limits()).wait(
                    machine, self._lease.guest_session
                )
                parts["machine_boot_seconds"] = reader.opened_at - began
                parts["machine_work_seconds"] = reader.closed_at - reader.opened_at
            finally:
                # The machine is stopped inside the session: what it said last has been read.
                ended = time.monotonic()
                self._lease.end(
                    wait=not isinstance(sys.exception(), (DagsterExecutionInterruptedError, KeyboardInterrupt))
                )
                parts["machine_end_seconds"] = time.monotonic() - ended
                channel.say_ended()
        if reader.exception:
            raise remote_failure(reader.exception)
        seconds = {name: dg.MetadataValue.float(round(value, 2)) for name, value in parts.items()}
        results = pipes.get_results(implicit_materializations=False, metadata={**seconds, **self.metadata()})
        return Outcome(results, pipes.get_custom_messages(), time.monotonic() - began)

    def metadata(self) -> dict[str, dg.MetadataValue]:
        """What the machine was and cost, with links to its logs and to itself."""
        machine = self._lease.machine
        place = (machine.zone, machine.name) if machine else ("", "")
        return {**self._lease.metadata(), **links(self._settings.project_id(), self._context.run.run_id, *place)}

    def _limits(self) -> Limits:
        return Limits(self._settings.vm_boot_seconds, self._settings.vm_silence_seconds, self._heartbeat_seconds)

    def _open_channel(self) -> StorageChannel:
        """The bucket, with the word that the run is at work in it: that shows that it can be written to."""
        name = self._settings.bucket_name()
        try:
            bucket = open_bucket(name, project=self._settings.project, endpoint=self._settings.storage_endpoint)
            channel = StorageChannel(bucket, self._settings.storage_endpoint, self._heartbeat_seconds)
            channel.say_at_work()
        except (GoogleAPICallError, GoogleAuthError, RequestException) as error:
            raise RetryableFailure(f"gs://{name} (MMT_PIPES_BUCKET) cannot be written to: {error}") from error
        return channel

    def _source_code(self) -> dict[str, str]:
        """What the machine checks out: a pinned commit.

        Raises:
            dagster.Failure: There is no commit, or no repository, to name.
        """
        commit = self._settings.git_ref or self._job.commit
        if len(commit) != _FULL_SHA:
            raise dg.Failure(
                f"the analysis server checks out one commit, but the code that runs here is '{commit}': commit and "
                "push it, or name a commit with MMT_GIT_REF",
                allow_retries=False,
            )
        if self._settings.git_url is None:
            raise dg.Failure("MMT_GIT_URL is unset: the analysis server checks the code out from there")
        return {"git-url": self._settings.git_url, "git-ref": commit}

    def _run_metadata(self, pipes: Mapping[str, str]) -> dict[str, str]:
        left = self._settings.vm_max_seconds - self._settings.vm_boot_seconds
        return {
            "dagster-run-id": self._context.run.run_id,
            "dagster-module": self._module,
            "dagster-max-seconds": str(int(max(_LEAST_WORK_SECONDS, min(left, self._timeout_seconds)))),
            "dagster-pipes-context": pipes["DAGSTER_PIPES_CONTEXT"],
            "dagster-pipes-messages": pipes["DAGSTER_PIPES_MESSAGES"],
            "vm-events-topic": f"projects/{self._settings.project_id()}/topics/{VM_EVENTS.topic}",
            "enable-guest-attributes": "TRUE",
            "serial-port-logging-enable": "TRUE",
        }
