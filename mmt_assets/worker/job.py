"""What a run asks the worker to do. It travels as JSON through the Pipes extras."""

from datetime import date, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from mmt_assets.forecasting.proposals import ProposalOptions
from mmt_assets.warehouse import DuckDBWarehouse, Fence


class WarehouseAddress(BaseModel):
    """Where the warehouse is."""

    model_config = ConfigDict(frozen=True)

    engine: Literal["duckdb"] = "duckdb"
    path: str
    busy_timeout: float

    def connect(self) -> DuckDBWarehouse:
        """The warehouse at this address."""
        return DuckDBWarehouse(Path(self.path), self.busy_timeout)


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
        proposals: Threshold and capacities of proposed concerts.
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
    proposals: ProposalOptions = ProposalOptions()

    @property
    def fence(self) -> Fence:
        """Who writes."""
        return Fence(self.run_id, self.run_created_at)
