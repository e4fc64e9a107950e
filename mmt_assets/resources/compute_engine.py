"""The analysis server as a compute resource: a Compute Engine machine that exists only while it works."""

from functools import cache
from typing import TYPE_CHECKING, Any

import dagster as dg

from mmt_assets.resources.compute import ComputeResource, LocalProcess, Outcome
from mmt_assets.setting_groups.analysis_server import AnalysisServerSettings
from mmt_assets.settings import Settings
from mmt_assets.worker.job import WorkerJob

if TYPE_CHECKING:
    from mmt_assets.gcp.compute_engine import ComputeEngine


def open_client(settings: AnalysisServerSettings, *, patience: float = 60.0) -> "ComputeEngine":
    """The client of this deployment's machines; one process has one for each patience.

    Args:
        settings: Settings.
        patience: Seconds over which a call is repeated while the API does not answer.

    Raises:
        SettingsError: `MMT_PROJECT` is unset.
    """
    return _client(settings.project_id(), settings.deployment, settings.compute_endpoint, patience)


@cache
def _client(project: str, deployment: str, endpoint: str | None, patience: float) -> "ComputeEngine":
    # Google's client takes seconds to import, which nobody who does not use it should pay for.
    from mmt_assets.gcp.compute_engine import ComputeEngine  # noqa: PLC0415

    return ComputeEngine(project, deployment=deployment, endpoint=endpoint, patience=patience)


class ComputeEngineServer(ComputeResource):
    """The worker on a machine of its own, which is gone afterwards.

    Attributes:
        server: The settings of the group `analysis_server`, as JSON.
        timeout_seconds: Longest time that the worker may take.
        heartbeat_seconds: How often the run says that it is at work.
        module: Python module that is the worker.
    """

    server: dict[str, Any]
    timeout_seconds: float = 6 * 3600.0
    heartbeat_seconds: float = 60.0
    module: str = "mmt_assets.worker"

    @classmethod
    def from_settings(cls, settings: Settings) -> "ComputeEngineServer":
        """The server that the settings describe; nothing is opened and nobody logs in."""
        return cls(
            # Dagster takes no nulls in a resource's values; what is left out has the default.
            server=settings.model_dump(
                mode="json", include=set(AnalysisServerSettings.model_fields), exclude_none=True
            ),
            timeout_seconds=settings.worker_timeout_seconds,
            heartbeat_seconds=settings.heartbeat_seconds,
        )

    def run(self, context: dg.AssetExecutionContext, job: WorkerJob) -> Outcome:
        """Do the job on a machine, see `ComputeResource.run`."""
        # See `_client`.
        from mmt_assets.resources.server_session import run_on_server  # noqa: PLC0415

        return run_on_server(
            context,
            job,
            AnalysisServerSettings.model_validate(self.server),
            heartbeat_seconds=self.heartbeat_seconds,
            timeout_seconds=self.timeout_seconds,
            module=self.module,
        )


class ServerForDays(ComputeResource):
    """Whole days on the analysis server or a cluster, one concert beside the run: nothing boots for seconds of work.

    Attributes:
        server: Where days are forecast.
        beside: Where one concert is.
    """

    server: ComputeResource
    beside: LocalProcess

    def run(self, context: dg.AssetExecutionContext, job: WorkerJob) -> Outcome:
        """Do the job where its kind belongs, see `ComputeResource.run`."""
        place = self.beside if job.concert_id else self.server
        return place.run(context, job)
