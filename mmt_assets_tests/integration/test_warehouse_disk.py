"""A disk that is full, a warehouse that may only be read: said clearly, nothing half-written, a rerun works."""

import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pytest

from mmt_assets.contracts import CITY_DEMAND
from mmt_assets.warehouse import DuckDBWarehouse, Fence, ReplaceSlice, Slice, Statement, WarehouseError

DAY = date(2026, 1, 5)
FENCE = Fence("run", datetime(2026, 1, 6, tzinfo=UTC))
COUNTS = "SELECT makes_count, COUNT(*) FROM features.city_demand GROUP BY 1"
NOBODY = 65_534


@pytest.fixture
def warehouse() -> Iterator[DuckDBWarehouse]:
    """A file that holds ones, in a folder that other users may enter too."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    made = DuckDBWarehouse(folder / "warehouse.duckdb")
    replace(made, 1, 5000)
    yield made
    folder.chmod(0o755)
    shutil.rmtree(folder)


def replace(warehouse: DuckDBWarehouse, value: int, count: int) -> None:
    artists = [f"artist {n * 7919}" for n in range(count)]
    rows = pd.DataFrame({"artist": artists, "country": "KR", "city": "Seoul", "demand_date": DAY})
    rows = rows.assign(makes_count=value, new_fans_count=0)
    with warehouse.open() as session:
        session.write([ReplaceSlice(CITY_DEMAND, Slice(DAY, DAY), rows)], fence=FENCE)


def stored(warehouse: DuckDBWarehouse) -> list[tuple[int, int]]:
    with warehouse.open(read_only=True) as session:
        return session.execute(Statement(COUNTS)).fetchall()


def in_child(work: Callable[[], object]) -> str:
    """What the work says in a process of its own, whose limits and user it may change; errors are said too."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = str(work())
        except BaseException as error:  # noqa: BLE001 - what it is, is the test's question
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def test_a_disk_that_is_full_leaves_the_old_rows_and_says_what_to_do(warehouse: DuckDBWarehouse) -> None:
    # The kernel's own refusal: files may not grow by more than this.
    room = warehouse.path.stat().st_size + 4096

    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        replace(warehouse, 2, 400_000)

    said = in_child(write)
    assert said.startswith("WarehouseError")
    assert "Could not write file" in said
    assert "Is the disk full? The stored rows are as they were: make room and run again" in said
    assert stored(warehouse) == [(1, 5000)]
    replace(warehouse, 2, 400_000)
    assert stored(warehouse) == [(2, 400_000)]


def test_a_warehouse_that_may_only_be_read_says_so_can_be_read_and_is_written_again_later(
    warehouse: DuckDBWarehouse,
) -> None:
    warehouse.path.chmod(0o444)
    warehouse.path.parent.chmod(0o555)

    def as_nobody(work: Callable[[], object]) -> str:
        def run() -> object:
            # Root may write whatever the mode says.
            if os.geteuid() == 0:
                os.setuid(NOBODY)
            return work()

        return in_child(run)

    said = as_nobody(lambda: replace(warehouse, 2, 10))
    assert said.startswith("WarehouseError")
    assert "Permission denied" in said
    assert "make both writable for its user and run again" in said
    assert as_nobody(lambda: stored(warehouse)) == "[(1, 5000)]"
    warehouse.path.chmod(0o644)
    warehouse.path.parent.chmod(0o755)
    replace(warehouse, 2, 10)
    assert stored(warehouse) == [(2, 10)]


def test_a_run_from_before_the_clock_was_set_back_is_told_apart_from_a_newer_one(warehouse: DuckDBWarehouse) -> None:
    ahead = Fence("ahead", datetime(2126, 1, 1, 10, tzinfo=UTC))
    now = Fence("now", datetime(2126, 1, 1, 9, tzinfo=UTC))
    write = ReplaceSlice(CITY_DEMAND, Slice(DAY, DAY), Statement(f"SELECT * FROM {CITY_DEMAND.table}"))
    with warehouse.open() as session:
        session.write([write], fence=ahead)
    with warehouse.open() as session, pytest.raises(WarehouseError) as refused:
        session.write([write], fence=now)
    assert "created 2126-01-01 10:00" in str(refused.value)
    assert "is still to come by this machine's clock" in str(refused.value)
    assert stored(warehouse) == [(1, 5000)]
    with warehouse.open() as session:
        # When the clock has caught up.
        session.write([write], fence=Fence("later", datetime(2126, 1, 1, 10, 0, 1, tzinfo=UTC)))
