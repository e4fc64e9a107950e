"""Ctrl-C, SIGTERM and SIGKILL during `make demo`: whole slices, no process left, and the same command goes on."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import pandas as pd
import psutil
import pytest

from mmt_assets import sample
from mmt_assets.contracts import CONCERT_OUTLOOK, CONCERT_SALES, REJECTED_ROWS, TICKET_ORDERS, TICKET_SALES
from mmt_assets_tests.servers.dagster_deployment import is_alive, wait_until

ROOT = Path(__file__).parents[2]
FIRST, LAST = date(2026, 9, 20), date(2026, 10, 5)
STOPPED = "stopped: what was finished stays, nothing is half-written; the same command goes on from there"
RAW, WORKER, WRITES = "orders_and_refunds started", "external process successfully opened", "concerts forecast"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    sample.write_source(tmp_path / "bookings", first_day=FIRST, last_day=LAST)
    return tmp_path


def demo(folder: Path) -> subprocess.Popen[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MMT_", "DAGSTER_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "mmt_assets", "demo", "--source", "bookings", "--as-of", LAST.isoformat()],
        cwd=folder,
        env={**kept, "OMP_NUM_THREADS": "1", "MMT_WORKER_PROCESSES": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout
    return iter(process.stdout.readline, "")


def stop(folder: Path, moment: str, sent: signal.Signals) -> tuple[int, str]:
    """Start the demo, send the signal when it says `moment`; its exit code and what it said after that."""
    process = demo(folder)
    try:
        assert any(moment in line for line in lines(process)), f"the demo never said {moment!r}"
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(sent)
        said, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    wait_until(lambda: not any(is_alive(child) for child in family), 30, "the end of the run's processes")
    return process.returncode, said


def finish(folder: Path) -> str:
    process = demo(folder)
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return said


def rows(folder: Path, sql: str) -> list[tuple[int, ...]]:
    with duckdb.connect(str(folder / ".mmt" / "warehouse.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def assert_everything_once(folder: Path) -> None:
    """Each order of the source is stored or rejected, once; sales and forecasts agree with the orders."""
    source = pd.read_parquet(folder / "bookings" / "ticket_orders")
    [(stored,)] = rows(folder, f"SELECT COUNT(*) FROM {TICKET_ORDERS.table}")
    [(rejected,)] = rows(folder, f"SELECT COUNT(*) FROM {REJECTED_ROWS.table} WHERE source_table = 'ticket_orders'")
    assert stored + rejected == len(source)
    [(ordered,)] = rows(folder, f"SELECT SUM(quantity) FROM {TICKET_ORDERS.table}")
    assert rows(folder, f"SELECT SUM(tickets_sold) FROM {CONCERT_SALES.table}") == [(ordered,)]
    for table in (TICKET_SALES, CONCERT_OUTLOOK):
        key = ", ".join(f'"{name}"' for name in table.key)
        assert rows(folder, f"SELECT 1 FROM {table.table} GROUP BY {key} HAVING COUNT(*) > 1") == []
    [(forecast,)] = rows(folder, f"SELECT COUNT(DISTINCT concert_id) FROM {TICKET_SALES.table}")
    [(active,)] = rows(folder, f"SELECT COUNT(DISTINCT concert_id) FROM {CONCERT_OUTLOOK.table} WHERE days_to_show > 0")
    assert forecast == active > 0


def test_a_demo_that_is_stopped_or_killed_says_so_and_goes_on_from_there(folder: Path) -> None:
    for moment, sent in ((RAW, signal.SIGTERM), (WORKER, signal.SIGINT)):
        code, said = stop(folder, moment, sent)
        assert code == 130, said
        assert STOPPED in " ".join(said.split())
        assert "Traceback" not in said
    for moment in (RAW, WRITES):
        code, _ = stop(folder, moment, signal.SIGKILL)
        assert code == -signal.SIGKILL
    assert "1 of 2: raw and features, 2026-10-05 to 2026-10-05" in finish(folder), "what was finished stays"
    assert_everything_once(folder)
