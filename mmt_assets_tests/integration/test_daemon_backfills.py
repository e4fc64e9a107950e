"""Backfills and retries that a real daemon launches."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from mmt_assets import sample
from mmt_assets.assets.catalog import asset_key
from mmt_assets.contracts import CITY_DEMAND, CONCERT_SALES, CONCERTS, MAKES, TICKET_ORDERS, TICKET_REFUNDS
from mmt_assets.job_names import CONCERT_JOB
from mmt_assets.partitions import CONCERTS as CONCERT_PARTITIONS
from mmt_assets.partitions import days_between
from mmt_assets_tests.servers.dagster_deployment import ENDED, Deployment, instance_of, status, wait_until

ROOT = Path(__file__).parents[2]
FIRST, LAST = date(2026, 9, 28), date(2026, 10, 9)
DAY_TABLES = (TICKET_ORDERS, TICKET_REFUNDS, MAKES, CONCERT_SALES, CITY_DEMAND)
BACKFILL_ENDED = (
    BulkActionStatus.COMPLETED,
    BulkActionStatus.COMPLETED_SUCCESS,
    BulkActionStatus.COMPLETED_FAILED,
    BulkActionStatus.FAILED,
)


@contextmanager
def deployment(folder: Path, **settings: str) -> Iterator[Deployment]:
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", folder)
    sample.write_source(folder / "bookings", first_day=FIRST, last_day=LAST)
    given = {
        "MMT_HOME": str(folder / ".mmt"),
        "MMT_SOURCE": str(folder / "bookings"),
        "MMT_FIRST_DAY": FIRST.isoformat(),
        "MMT_LAST_DAY": LAST.isoformat(),
        # Nobody's morning: the tests ask for runs themselves.
        "MMT_DAILY_AT": (datetime.now(UTC) - timedelta(hours=1)).strftime("%H:%M"),
    }
    made = Deployment(folder, **{**given, **settings})
    try:
        yield made
    finally:
        made.down()


def ended_backfill(made: Deployment, instance: dg.DagsterInstance, backfill_id: str) -> BulkActionStatus:
    def end() -> BulkActionStatus | None:
        backfill = instance.get_backfill(backfill_id)
        return backfill.status if backfill and backfill.status in BACKFILL_ENDED else None

    return wait_until(end, 600, "the backfill's end\n" + made.logs())


def failures(instance: dg.DagsterInstance, backfill_id: str) -> str:
    runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill_id}))
    events = [e for run in runs for e in instance.all_logs(run.run_id, dg.DagsterEventType.STEP_FAILURE)]
    found = [event.get_dagster_event().step_failure_data for event in events]
    return "\n".join(str(data.user_failure_data and data.user_failure_data.description) for data in found)


@pytest.mark.chaos
def test_a_backfill_in_chunks_refuses_behind_a_gap_and_ends_with_the_rows_of_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [day.isoformat() for day in days_between(FIRST, LAST)]
    skipped = days[4]
    assets = [asset_key(table) for table in DAY_TABLES]
    with deployment(tmp_path / "chunks", MMT_MAX_PARTITIONS_PER_RUN="3") as made:
        made.command("prepare")
        with instance_of(made.folder, monkeypatch) as instance:
            made.up()
            concerts = made.launch(
                instance, dg.RunRequest(job_name="daily_forecast_job", asset_selection=[asset_key(CONCERTS)],
                                        tags={"dagster/partition": days[0]})
            )  # fmt: skip
            wait_until(lambda: status(instance, concerts) in ENDED, 120, "the concerts' run\n" + made.logs())
            assert status(instance, concerts) == dg.DagsterRunStatus.SUCCESS

            with_gap = made.backfill(instance, assets, [day for day in days if day != skipped])
            assert ended_backfill(made, instance, with_gap) != BulkActionStatus.COMPLETED_SUCCESS
            assert f"raw/makes: not materialised for {skipped}" in failures(instance, with_gap)
            known = instance.get_materialized_partitions(asset_key(CITY_DEMAND))
            assert set(days[:3]) <= known <= set(days[:4]), "nothing behind the gap"
            rest = made.backfill(instance, assets, days[3:])
            assert ended_backfill(made, instance, rest) == BulkActionStatus.COMPLETED_SUCCESS, failures(instance, rest)
            runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": rest}))
            assert len(runs) >= 3, "nine days in chunks of at most three"
            in_chunks = {table.table: rows_of(made, table.table) for table in DAY_TABLES}
    with deployment(tmp_path / "once") as made:
        made.command("demo", "--source", "bookings", "--as-of", LAST.isoformat())
        for table, rows in in_chunks.items():
            assert rows == rows_of(made, table), table
            assert rows


def rows_of(made: Deployment, table: str) -> list[tuple[Any, ...]]:
    return made.rows(f"SELECT * FROM {table} ORDER BY ALL")


@pytest.mark.chaos
def test_a_run_that_found_the_warehouse_held_is_launched_again_by_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with deployment(tmp_path / "held", MMT_BUSY_TIMEOUT_SECONDS="2") as made:
        made.command("demo", "--source", "bookings", "--as-of", LAST.isoformat())
        [(concert,)] = made.rows("SELECT MIN(concert_id) FROM forecasts.concert_outlook WHERE days_to_show > 0")
        with instance_of(made.folder, monkeypatch) as instance:
            instance.add_dynamic_partitions(str(CONCERT_PARTITIONS.name), [concert])
            made.up()
            script = "import duckdb as d, sys; c = d.connect(sys.argv[1]); print('held', flush=True); input()"
            command = [sys.executable, "-c", script, str(made.settings.warehouse_path)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
                assert holder.stdout
                assert holder.stdout.readline() == "held\n"
                request = dg.RunRequest(job_name=CONCERT_JOB, tags={"dagster/partition": concert})
                first = made.launch(instance, request)
                wait_until(lambda: status(instance, first) in ENDED, 120, "the run's end\n" + made.logs())
                holder.kill()
            assert status(instance, first) == dg.DagsterRunStatus.FAILURE
            assert f"process {holder.pid} (" in "\n".join(
                str(entry.get_dagster_event().step_failure_data.error)
                for entry in instance.all_logs(first, dg.DagsterEventType.STEP_FAILURE)
            )

            def retried() -> dg.DagsterRun | None:
                runs = instance.get_runs(dg.RunsFilter(job_name=CONCERT_JOB))
                return next((run for run in runs if run.parent_run_id == first and run.is_finished), None)

            again = wait_until(retried, 180, "the retry\n" + made.logs())
            assert again.status == dg.DagsterRunStatus.SUCCESS
            assert again.tags["dagster/retry_number"] == "1"
