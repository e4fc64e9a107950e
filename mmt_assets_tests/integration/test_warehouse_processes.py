"""Several real processes and one warehouse: kills, waiting, races."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mmt_assets.warehouse import DuckDBWarehouse, Statement, WarehouseBusyError, WarehouseError
from mmt_assets.worker.job import DuckDBAddress, WarehouseAddress
from mmt_assets_tests.servers.bigquery import BigQueryPlace

DEMAND = "SELECT makes_count, COUNT(*) AS n FROM features.city_demand GROUP BY 1 ORDER BY 1"
# What every process here runs first. Importing costs more than writing, so it forks its writers.
COMMON = """
import os, random, select, signal, sys, time, traceback
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
import pandas as pd
from mmt_assets.contracts import CITY_DEMAND
from mmt_assets.warehouse import *
from mmt_assets.warehouse import duckdb_writes
from mmt_assets.worker.job import WarehouseAddress
from pydantic import TypeAdapter

warehouse = TypeAdapter(WarehouseAddress).validate_json(sys.argv[1]).connect()
DAY = date(2026, 1, 5)

def rows(value, day=DAY, count=5000):
    return pd.DataFrame({
        "artist": [f"artist {n}" for n in range(count)], "country": "KR", "city": "Seoul", "demand_date": day,
        "makes_count": value, "new_fans_count": 0,
    })

def replace(value, day=DAY, hours=0, count=5000):
    fence = Fence(f"run {hours}", datetime(2026, 1, 6, tzinfo=UTC) + timedelta(hours=hours))
    write = ReplaceSlice(CITY_DEMAND, Slice(day, day), rows(value, day, count))
    with warehouse.open() as session:
        session.write([write], fence=fence)

def fork(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = work() or 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid

def exit_code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
KILLED_BETWEEN = """
run = duckdb_writes._run

def insert_after_waiting(session, step):
    if step.statement.sql.startswith("INSERT"):
        print("deleted", flush=True)
        signal.pause()
    return run(session, step)

replace(1)
duckdb_writes._run = insert_after_waiting
replace(2)
"""
KILL_STORM = """
kills, seed = int(sys.argv[2]), int(sys.argv[3])
moments = random.Random(seed)

def write_for_ever(ready):
    value = 1
    while True:
        value = 3 - value
        replace(value)
        os.write(ready, b".")

def check():
    with warehouse.open() as session:
        counts = session.query(Statement("SELECT makes_count, COUNT(*) AS n FROM features.city_demand GROUP BY 1"))
        fences = session.scalar(
            Statement("SELECT COUNT(*) AS n FROM operations.write_fences WHERE table_name = @name",
                      {"name": CITY_DEMAND.table})
        )
    return int(not (len(counts) == 1 and counts.loc[0, "n"] == 5000 and fences == 1))

assert exit_code(fork(lambda: replace(1))) == 0
for kill in range(kills):
    reader, ready = os.pipe()
    pid = fork(lambda: write_for_ever(ready))
    select.select([reader], [], [], 30)
    # The moment of the kill is the test's input, from a fixed seed.
    time.sleep(moments.uniform(0, 0.15))
    os.kill(pid, signal.SIGKILL)
    assert exit_code(pid) == -signal.SIGKILL
    os.close(reader), os.close(ready)
    assert exit_code(fork(check)) == 0, f"kill {kill} left half a slice"
print("whole")
"""
SIXTEEN = """
pids = [fork(lambda day=DAY + timedelta(days=n): replace(1, day, count=500)) for n in range(16)]
print([exit_code(pid) for pid in pids])
"""
RACE = """
for round in range(int(sys.argv[2])):
    def attempt(value, hours):
        os.read(start, 1)
        try:
            replace(value, hours=hours, count=200)
        except StaleWriteError:
            return 3
    start, go = os.pipe()
    older = fork(lambda: attempt(1, round * 2 + 1))
    newer = fork(lambda: attempt(2, round * 2 + 2))
    os.write(go, b"..")
    print(exit_code(older) in (0, 3), exit_code(newer), flush=True)
"""


def run(script: str, address: WarehouseAddress, *args: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", COMMON + script, address.model_dump_json(), *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, env=environment)


def output(process: subprocess.Popen[str], seconds: float = 240) -> list[str]:
    text, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0
    return text.splitlines()


def at(path: Path) -> DuckDBAddress:
    return DuckDBAddress(path=str(path), busy_timeout=120)


def demand(path: Path) -> list[tuple[int, int]]:
    with DuckDBWarehouse(path).open(read_only=True) as session:
        return session.execute(Statement(DEMAND)).fetchall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "warehouse.duckdb"


def test_a_kill_between_delete_and_insert_leaves_the_old_rows(path: Path) -> None:
    with run(KILLED_BETWEEN, at(path)) as process:
        assert process.stdout
        assert process.stdout.readline() == "deleted\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert demand(path) == [(1, 5000)]


def test_fifty_kills_leave_whole_slices(path: Path) -> None:
    assert output(run(KILL_STORM, at(path), "50", "7")) == ["whole"]


@pytest.mark.chaos
def test_two_hundred_kills_leave_whole_slices(path: Path) -> None:
    assert output(run(KILL_STORM, at(path), "200", "11")) == ["whole"]


def test_five_kills_leave_whole_slices_in_bigquery(bigquery_place: BigQueryPlace) -> None:
    assert output(run(KILL_STORM, bigquery_place.address(), "5", "7")) == ["whole"]


@pytest.mark.chaos
@pytest.mark.timeout(3000)
def test_fifty_kills_leave_whole_slices_in_bigquery(bigquery_place: BigQueryPlace) -> None:
    assert output(run(KILL_STORM, bigquery_place.address(), "50", "11"), seconds=2800) == ["whole"]


def test_of_two_runs_that_race_for_a_slice_in_bigquery_the_newer_one_wins(bigquery_place: BigQueryPlace) -> None:
    assert output(run(RACE, bigquery_place.address(), "1")) == ["True 0"]
    with bigquery_place.warehouse().open(read_only=True) as session:
        assert session.query(Statement(DEMAND)).to_numpy().tolist() == [[2, 200]]


def test_sixteen_processes_write_their_slices_at_once(path: Path) -> None:
    assert output(run(SIXTEEN, at(path))) == [str([0] * 16)]
    assert demand(path) == [(1, 16 * 500)]


def test_a_new_file_is_a_database_before_anybody_else_can_open_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # DuckDB makes a file and locks it then: whoever gets the lock in between finds an empty file, and leaves it so.
    connect, empty = duckdb.connect, []

    def watched(name: str, **options: Any) -> duckdb.DuckDBPyConnection:
        empty.append(name == str(path) and not path.exists())
        return connect(name, **options)

    monkeypatch.setattr(duckdb, "connect", watched)
    assert not path.exists()
    with DuckDBWarehouse(path).open() as session:
        assert session.scalar(Statement("SELECT 1")) == 1
    assert empty
    assert not any(empty)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_of_two_runs_that_race_for_a_slice_the_newer_one_wins(path: Path) -> None:
    assert output(run(RACE, at(path), "4")) == ["True 0"] * 4
    assert demand(path) == [(2, 200)]


def hold(path: Path) -> subprocess.Popen[str]:
    path.parent.mkdir(exist_ok=True)
    script = "import duckdb as d, sys; c = d.connect(sys.argv[2]); print('held', flush=True); sys.stdin.readline()"
    command = [sys.executable, "-c", script, "the-holder", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_opening_waits_for_a_process_that_lets_go(path: Path) -> None:
    with hold(path) as holder:
        assert holder.stdin
        release = threading.Timer(2, holder.stdin.close)
        release.start()
        with DuckDBWarehouse(path, busy_timeout=30).open() as session:
            assert session.scalar(Statement("SELECT 1")) == 1
        assert release.finished.is_set()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_held_past_the_deadline_names_the_holder(path: Path, *, read_only: bool) -> None:
    warehouse = DuckDBWarehouse(path, busy_timeout=0.5)
    with hold(path) as holder:
        with pytest.raises(WarehouseBusyError) as busy, warehouse.open(read_only=read_only):
            pass
        holder.kill()
    assert f"process {holder.pid} (" in str(busy.value)
    assert "the-holder" in str(busy.value)
    assert "held for 0.5 s" in str(busy.value)


def test_the_file_is_let_go_when_the_work_inside_fails(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), DuckDBWarehouse(path).open():
        _ = 1 / 0
    with DuckDBWarehouse(path, busy_timeout=0).open(read_only=True) as session:
        assert session.scalar(Statement("SELECT 1")) == 1
        with pytest.raises(WarehouseError, match="read-only"):
            session.execute(Statement("CREATE TABLE t (x INT64)"))


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(WarehouseError, match="does not exist yet"),
        DuckDBWarehouse(tmp_path / "no").open(read_only=True),
    ):
        pass
    rubbish = tmp_path / "rubbish.duckdb"
    rubbish.write_bytes(b"no database" * 1000)
    with pytest.raises(WarehouseError, match=r"rubbish\.duckdb cannot be opened"), DuckDBWarehouse(rubbish).open():
        pass
    with pytest.raises(WarehouseError, match="cannot be opened"), DuckDBWarehouse(rubbish / "below").open():
        pass
