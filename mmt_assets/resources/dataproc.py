"""The worker as a PySpark job on a Dataproc cluster, through Dagster's own Pipes client."""

import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from mmt_assets.resources.compute import ComputeResource, Outcome, RetryableFailure, remote_failure, say_at_work
from mmt_assets.settings import Settings
from mmt_assets.worker.job import WorkerJob

if TYPE_CHECKING:
    from dagster_gcp.pipes import PipesDataprocJobClient
    from google.cloud.dataproc_v1 import JobControllerClient

    from mmt_assets.resources.storage_messages import StorageChannel


class DataprocCluster(ComputeResource):
    """Whole days on a cluster that exists already; concerts are spread over its executors.

    Attributes:
        project: Google Cloud project.
        region: Region of the cluster.
        cluster: Its name.
        code: Checkout with its environment on each node (`infra/dataproc/initialize.sh`).
        spark_master: Spark master, as the worker is told it.
        bucket: Bucket of the worker's messages.
        endpoint: A test server for Dataproc.
        storage_endpoint: A test server for Cloud Storage.
        heartbeat_seconds: How often the run says that it is at work.
        poll_seconds: How often the job's state is asked for.
    """

    project: str
    region: str
    cluster: str
    code: str = "/opt/mmt_assets"
    spark_master: str = "yarn"
    bucket: str
    endpoint: str | None = None
    storage_endpoint: str | None = None
    heartbeat_seconds: float = 60.0
    poll_seconds: float = 5.0

    @classmethod
    def from_settings(cls, settings: Settings) -> "DataprocCluster":
        """The cluster that the settings name; nothing is opened and nobody logs in."""
        return cls(
            # Whoever only loads the definitions needs no project.
            project=settings.project or "",
            region=settings.dataproc_region,
            cluster=settings.dataproc_cluster or "",
            code=settings.dataproc_code,
            spark_master=settings.spark_master or "yarn",
            bucket=settings.pipes_bucket or f"{settings.project}-mmt-pipes",
            endpoint=settings.dataproc_endpoint,
            storage_endpoint=settings.storage_endpoint,
            heartbeat_seconds=settings.heartbeat_seconds,
        )

    def run(self, context: dg.AssetExecutionContext, job: WorkerJob) -> Outcome:
        """Do the job on the cluster, see `ComputeResource.run`.

        Raises:
            dagster.Failure: The job failed, was cancelled, or could not be submitted.
        """
        # Google's clients take seconds to import, which nobody who does not use them should pay for.
        from dagster_gcp.pipes import PipesDataprocJobClient  # noqa: PLC0415
        from google.api_core.exceptions import GoogleAPICallError  # noqa: PLC0415
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415
        from requests import RequestException  # noqa: PLC0415

        from mmt_assets.gcp.storage import open_bucket  # noqa: PLC0415
        from mmt_assets.resources.storage_messages import (  # noqa: PLC0415
            StorageChannel,
            StorageContextInjector,
            StorageMessageReader,
        )

        # The client is a preview in dagster-gcp, and how many writers a session may have in Dagster.
        warnings.filterwarnings("ignore", category=dg.PreviewWarning)
        bucket = open_bucket(self.bucket, project=self.project, endpoint=self.storage_endpoint)
        channel = StorageChannel(bucket, self.storage_endpoint, self.heartbeat_seconds)
        reader = StorageMessageReader(channel)
        pipes = PipesDataprocJobClient(
            message_reader=reader,
            client=self._client(),
            context_injector=StorageContextInjector(channel),
            poll_interval=self.poll_seconds,
        )
        began = time.monotonic()
        try:
            channel.say_at_work()
            with self._heartbeats(context, channel):
                done = self._submit(context, pipes, job)
        except RuntimeError as error:
            if reader.exception:
                raise remote_failure(reader.exception) from error
            raise dg.Failure(f"{error}; the driver's output is in the job's page on Dataproc") from error
        except (GoogleAPICallError, GoogleAuthError, RequestException) as error:
            raise RetryableFailure(f"Dataproc cluster {self.cluster} (MMT_DATAPROC_CLUSTER): {error}") from error
        finally:
            channel.say_ended()
        if reader.exception:
            raise remote_failure(reader.exception)
        results = done.get_results(implicit_materializations=False)
        return Outcome(results, done.get_custom_messages(), time.monotonic() - began)

    def _submit(
        self, context: dg.AssetExecutionContext, pipes: "PipesDataprocJobClient", job: WorkerJob
    ) -> dg.PipesClientCompletedInvocation:
        from google.cloud.dataproc_v1 import Job, JobPlacement, PySparkJob  # noqa: PLC0415

        python = f"{self.code}/.venv/bin/python"
        submitted = Job(
            placement=JobPlacement(cluster_name=self.cluster),
            pyspark_job=PySparkJob(
                main_python_file_uri=f"file://{self.code}/infra/dataproc/worker.py",
                properties={"spark.pyspark.python": python, "spark.pyspark.driver.python": python},
            ),
            # Repeating is the run's affair: it starts anew, with a session of its own.
            scheduling={"max_failures_per_hour": 0},
        )
        on_cluster = job.elsewhere(spark_master=self.spark_master)
        return pipes.run(
            context=context.op_execution_context,
            submit_job_params={"project_id": self.project, "region": self.region, "job": submitted},
            extras={"job": on_cluster.model_dump(mode="json")},
        )

    def _client(self) -> "JobControllerClient":
        from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415
        from google.cloud.dataproc_v1 import JobControllerClient  # noqa: PLC0415

        if self.endpoint is None:
            return JobControllerClient(client_options={"api_endpoint": f"{self.region}-dataproc.googleapis.com:443"})
        return JobControllerClient(
            transport="rest", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.endpoint}
        )

    @contextmanager
    def _heartbeats(self, context: dg.AssetExecutionContext, channel: "StorageChannel") -> Iterator[None]:
        """Say in the run's log and to the worker that the run is current, until it has ended."""
        over = threading.Event()
        began = time.monotonic()

        def beat() -> None:
            while not over.wait(self.heartbeat_seconds):
                try:
                    say_at_work(context, time.monotonic() - began)
                    channel.say_at_work()
                except dg.Failure:
                    # The worker sees that nobody renews the object any more, and writes nothing.
                    return
                except Exception as error:  # noqa: BLE001 - the next beat may get through
                    context.log.warning(f"a heartbeat did not get through: {error}")

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
