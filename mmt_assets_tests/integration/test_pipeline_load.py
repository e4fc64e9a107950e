"""Many on-demand runs at once while a daily run works, in one project folder, each a process of its own."""

import os
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mmt_assets import sample
from mmt_assets.contracts import CONCERT_FORECAST, CONCERT_OUTLOOK, PUBLISHED_OUTLOOK, TICKET_SALES

ROOT = Path(__file__).parents[2]
FIRST, LAST = date(2026, 9, 20), date(2026, 10, 5)
DAY_AGAIN = """
from datetime import date
from mmt_assets.cli.instance import open_instance
from mmt_assets.cli.runs import failure_reason, run_job
from mmt_assets.job_names import DAILY_JOB
from mmt_assets.settings import Settings

if __name__ == "__main__":
    with open_instance() as instance:
        result = run_job(instance, Settings.from_env(), DAILY_JOB, days=(date({day}), date({day})))
    assert result.success, failure_reason(result)
"""


class Project:
    """A project folder after `demo`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(ROOT / "dagster.yaml", folder)
        sample.write_source(folder / "bookings", first_day=FIRST, last_day=LAST)
        self.finish(self.start("-m", "mmt_assets", "demo", "--source", "bookings", "--as-of", LAST.isoformat()))

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MMT_", "DAGSTER_"))}
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**kept, "OMP_NUM_THREADS": "1", "MMT_WORKER_PROCESSES": "1", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @staticmethod
    def finish(process: subprocess.Popen[str], seconds: float = 280) -> str:
        try:
            printed, _ = process.communicate(timeout=seconds)
        finally:
            process.kill()
        assert process.returncode == 0, printed
        return printed

    def connect(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self.folder / ".mmt" / "warehouse.duckdb"))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


def on_demand_beside_a_daily_run(project: Project, count: int) -> None:
    concerts = [row[0] for row in project.rows(f"SELECT DISTINCT concert_id FROM {CONCERT_OUTLOOK.table} ORDER BY 1")]
    chosen = concerts[:count]
    assert len(chosen) == count
    sizes = f"SELECT concert_id, COUNT(*) FROM {CONCERT_FORECAST.table} GROUP BY 1 ORDER BY 1"
    before = project.rows(sizes)
    published = project.rows(f"SELECT COUNT(*) FROM {PUBLISHED_OUTLOOK.table}")[0][0]

    daily = project.start("-c", DAY_AGAIN.format(day=f"{LAST.year}, {LAST.month}, {LAST.day}"))
    running = [project.start("-m", "mmt_assets", "forecast", concert) for concert in chosen]
    for process in [daily, *running]:
        project.finish(process)

    assert project.rows(sizes) == before
    for table in (CONCERT_FORECAST, TICKET_SALES, CONCERT_OUTLOOK, PUBLISHED_OUTLOOK):
        key = ", ".join(f'"{name}"' for name in table.key)
        assert project.rows(f"SELECT {key} FROM {table.table} GROUP BY ALL HAVING COUNT(*) > 1") == []
    # One row for each concert of the daily run, one for each on-demand run.
    now = project.rows(f"SELECT COUNT(*) FROM {PUBLISHED_OUTLOOK.table}")[0][0]
    assert now == published + len(concerts) + count
    runs = dict(project.rows(f"SELECT concert_id, COUNT(DISTINCT run_id) FROM {CONCERT_FORECAST.table} GROUP BY 1"))
    assert set(runs.values()) == {1}


def test_eight_on_demand_runs_beside_a_daily_run_all_succeed_and_keep_every_row_once(project: Project) -> None:
    on_demand_beside_a_daily_run(project, 8)


@pytest.mark.chaos
def test_sixteen_on_demand_runs_beside_a_daily_run_all_succeed_and_keep_every_row_once(project: Project) -> None:
    on_demand_beside_a_daily_run(project, 16)


@pytest.mark.parametrize("held_seconds", [5.0, pytest.param(20.0, marks=pytest.mark.chaos)])
def test_a_reader_that_holds_the_warehouse_delays_a_run_and_does_not_fail_it(
    project: Project, held_seconds: float
) -> None:
    [(concert,)] = project.rows(f"SELECT MIN(concert_id) FROM {CONCERT_OUTLOOK.table}")
    with project.connect():
        started = time.monotonic()
        process = project.start("-m", "mmt_assets", "forecast", concert)
        with pytest.raises(subprocess.TimeoutExpired):
            # Longer than it takes to start, so that it really waits.
            process.communicate(timeout=held_seconds)
    project.finish(process)
    assert time.monotonic() - started > held_seconds
