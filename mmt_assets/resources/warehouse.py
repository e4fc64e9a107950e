"""The warehouse as a Dagster resource."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import dagster as dg

from mmt_assets.warehouse import DuckDBWarehouse, WarehouseError
from mmt_assets.warehouse.duckdb import DuckDBSession
from mmt_assets.worker.job import WarehouseAddress


class WarehouseResource(dg.ConfigurableResource):
    """A DuckDB file. Opening is late and short: one process at a time may have it.

    Attributes:
        path: The file.
        busy_timeout: Seconds to wait for another process to let go of it.
        engine: Kind of warehouse; definitions load with either, so that a graph can be looked at anywhere.
    """

    path: str
    engine: Literal["duckdb", "bigquery"] = "duckdb"
    busy_timeout: float = 120.0

    def open(self, *, source: str | None = None, read_only: bool = False) -> AbstractContextManager[DuckDBSession]:
        """Open a session, see `mmt_assets.warehouse.Warehouse.open`."""
        if self.engine != "duckdb":
            raise WarehouseError(
                "MMT_ENV=gcp has no warehouse yet: this version stores in DuckDB alone. Run with MMT_ENV=local."
            )
        return DuckDBWarehouse(Path(self.path), self.busy_timeout).open(source=source, read_only=read_only)

    def waiting_at_most(self, seconds: float) -> "WarehouseResource":
        """The same warehouse for a reader that would rather come back than wait."""
        return WarehouseResource(path=self.path, engine=self.engine, busy_timeout=seconds)

    def exists(self) -> bool:
        """Whether anything was ever written."""
        return Path(self.path).exists()

    def address(self) -> WarehouseAddress:
        """What the worker needs to open the same warehouse."""
        return WarehouseAddress(path=self.path, busy_timeout=self.busy_timeout)
