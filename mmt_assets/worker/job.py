"""What a run asks the worker to do. It travels as JSON through the Pipes extras."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mmt_assets.forecasting.proposals import ProposalOptions
from mmt_assets.warehouse import DuckDBWarehouse, Fence, Warehouse
from mmt_assets.worker.scenario_request import ScenarioRequest


class DuckDBAddress(BaseModel):
    """A DuckDB file on this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["duckdb"] = "duckdb"
    path: str
    busy_timeout: float

    def connect(self) -> Warehouse:
        """The warehouse at this address."""
        return DuckDBWarehouse(Path(self.path), self.busy_timeout)


class BigQueryAddress(BaseModel):
    """Datasets in BigQuery, opened with the machine's default credentials.

    Attributes:
        project: Google Cloud project.
        prefix: What the names of the datasets begin with.
        max_scan_gib: Most GiB that one statement may read.
        busy_timeout: Seconds for which a write that met another run's is tried again.
        endpoint: Address of an emulator instead of BigQuery.
        storage_endpoint: `host:port` of the emulator's Storage API.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["bigquery"] = "bigquery"
    project: str
    prefix: str = ""
    max_scan_gib: float = 100.0
    busy_timeout: float = 120.0
    endpoint: str | None = None
    storage_endpoint: str | None = None

    def connect(self) -> Warehouse:
        """The warehouse at this address."""
        # Google's clients take a second to import, which nobody should pay who works on one machine.
        from mmt_assets.warehouse.bigquery import BigQueryWarehouse  # noqa: PLC0415

        return BigQueryWarehouse(
            self.project, self.prefix, self.max_scan_gib, self.busy_timeout, self.endpoint, self.storage_endpoint
        )


# Told apart by their engine: a worker on any machine opens the run's warehouse.
WarehouseAddress = Annotated[DuckDBAddress | BigQueryAddress, Field(discriminator="engine")]


class WorkerJob(BaseModel):
    """Forecasts to make.

    Attributes:
        warehouse: Where to read and write.
        timezone: Business time zone.
        as_of_dates: As-of dates, in order; a single concert has one.
        concert_id: The one concert to forecast on demand; None for the day tables of all active concerts.
        live_date: As-of date whose rows are published as live; None when all are backfilled.
        run_id: Dagster run.
        run_created_at: When that run was created (UTC): older runs never overwrite newer ones.
        commit: Commit of the source code.
        lock_hash: SHA-256 of the lock file.
        processes: Processes that fit models; None for as many as the worker's machine has cores.
        spark_master: Spark master that all active concerts are spread to; None for this machine's processes.
        exports: Directory of the Parquet exports; None where the worker's machine does not outlive it.
        models: Directory of what was learned, likewise.
        proposals: Threshold and capacities of proposed concerts.
        scenario: What-if of the one concert, in place of its forecast.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    warehouse: WarehouseAddress
    timezone: str
    as_of_dates: tuple[date, ...]
    concert_id: str | None = None
    live_date: date | None = None
    run_id: str
    run_created_at: datetime
    commit: str
    lock_hash: str
    processes: int | None = 1
    spark_master: str | None = None
    exports: str | None
    models: str | None = None
    proposals: ProposalOptions = ProposalOptions()
    scenario: ScenarioRequest | None = None

    def elsewhere(self, *, spark_master: str | None = None) -> "WorkerJob":
        """This job for a machine that does not outlive it: with all of its processors, and nothing kept on it."""
        left_out = {"processes": None, "exports": None, "models": None}
        return self.model_copy(update={**left_out, "spark_master": spark_master or self.spark_master})

    @property
    def labels(self) -> dict[str, str]:
        """Whose cost the worker's statements are."""
        one = "concert_scenarios" if self.scenario else "concert_forecast"
        return {"run": self.run_id, "asset": one if self.concert_id else "day_forecasts"}

    @property
    def fence(self) -> Fence:
        """Who writes."""
        return Fence(self.run_id, self.run_created_at)
