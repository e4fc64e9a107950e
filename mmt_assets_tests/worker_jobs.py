"""Work for a worker of the local machine, and a warehouse that keeps it waiting."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from mmt_assets.worker.job import DuckDBAddress, WorkerJob


def make_job(warehouse: Path, busy_timeout: float = 60.0) -> WorkerJob:
    """One day's forecasts of a warehouse, which may be missing or held."""
    return WorkerJob(
        warehouse=DuckDBAddress(path=str(warehouse), busy_timeout=busy_timeout),
        timezone="UTC",
        as_of_dates=(date(2026, 1, 1),),
        run_id="run",
        run_created_at=datetime(2026, 1, 2, tzinfo=UTC),
        commit="none",
        lock_hash="none",
        exports=str(warehouse.parent / "exports"),
    )


@pytest.fixture
def held_warehouse(tmp_path: Path) -> Iterator[Path]:
    """A warehouse that this process holds, so that a worker waits for it."""
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)):
        yield path
