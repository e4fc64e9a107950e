"""The daily run under a real daemon and code server: killed, replaced, asked for twice."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mmt_assets import sample
from mmt_assets.assets.run_once import AS_OF_TAG, DAILY_POOL
from mmt_assets.contracts import (
    BOOKING_CURVES,
    CITY_DEMAND,
    CITY_DEMAND_FORECAST,
    CONCERT_OUTLOOK,
    CONCERT_PROPOSALS,
    CONCERT_SALES,
    MAKES,
    TICKET_ORDERS,
    TICKET_REFUNDS,
    TICKET_SALES,
    TableContract,
)
from mmt_assets.daily import daily_run_request
from mmt_assets.jobs import DAILY_JOB
from mmt_assets_tests.servers.dagster_deployment import Deployment, instance_of, is_alive, status, wait_until

ROOT = Path(__file__).parents[2]
FIRST, LOADED, TODAY = date(2026, 9, 28), date(2026, 10, 9), date(2026, 10, 12)
DAY_TABLES = (TICKET_ORDERS, TICKET_REFUNDS, MAKES, CONCERT_SALES, CITY_DEMAND)
FORECASTS = (TICKET_SALES, CONCERT_OUTLOOK, BOOKING_CURVES, CITY_DEMAND_FORECAST, CONCERT_PROPOSALS)


@contextmanager
def deployment(folder: Path, *, is_new: bool = False, **settings: str) -> Iterator[Deployment]:
    shutil.copy(ROOT / "dagster.yaml", folder)
    sample.write_source(folder / "bookings", first_day=FIRST, last_day=TODAY)
    given = {
        "MMT_HOME": str(folder / ".mmt"),
        "MMT_SOURCE": str(folder / "bookings"),
        "MMT_FIRST_DAY": FIRST.isoformat(),
        "MMT_LAST_DAY": TODAY.isoformat(),
        # Nobody's morning: the tests ask for runs themselves unless they say otherwise.
        "MMT_DAILY_AT": (datetime.now(UTC) - timedelta(hours=1)).strftime("%H:%M"),
    }
    made = Deployment(folder, **{**given, **settings})
    if is_new:
        made.command("prepare")
    else:
        # Three days before the last one: then nobody was there.
        made.command("demo", "--source", "bookings", "--as-of", LOADED.isoformat(), MMT_LAST_DAY=LOADED.isoformat())
    try:
        yield made
    finally:
        made.down()


def runs_of_today(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    return list(reversed(instance.get_runs(dg.RunsFilter(tags={AS_OF_TAG: TODAY.isoformat()}))))


def assert_every_slice_once(made: Deployment) -> None:
    def doubled(table: TableContract) -> list[tuple[Any, ...]]:
        key = ", ".join(f'"{name}"' for name in table.key)
        return made.rows(f"SELECT {key}, COUNT(*) FROM {table.table} GROUP BY ALL HAVING COUNT(*) > 1")

    for table in (*DAY_TABLES, *FORECASTS):
        assert doubled(table) == [], table.table
    missed = [(LOADED + timedelta(days=n)).isoformat() for n in range(4)]
    for table in FORECASTS:
        days = made.rows(f"SELECT DISTINCT as_of_date::DATE::VARCHAR FROM {table.table} ORDER BY 1")
        assert [day for (day,) in days] == missed, table.table
    ordered = made.rows(f"SELECT SUM(quantity), COUNT(DISTINCT order_date) FROM {TICKET_ORDERS.table}")
    sold = made.rows(f"SELECT SUM(tickets_sold), COUNT(DISTINCT sales_date) FROM {CONCERT_SALES.table}")
    assert ordered[0][0] == sold[0][0]
    assert ordered[0][1] == (TODAY - FIRST).days + 1


# A code server that lives sees its child's death and fails the run itself; when it dies too, only the sensor does.
@pytest.mark.parametrize("with_code_server", [True, pytest.param(False, marks=pytest.mark.chaos)])
def test_a_killed_daily_run_leaves_no_process_and_is_made_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_code_server: bool
) -> None:
    with deployment(tmp_path) as made, instance_of(tmp_path, monkeypatch) as instance:
        made.up()
        request = daily_run_request(instance, made.settings, TODAY)
        assert isinstance(request, dg.RunRequest), request
        killed = made.launch(instance, request)
        again = made.launch(instance, request)

        process = wait_until(lambda: made.run_process(instance, killed), 90, "the worker's start")
        tree = [process, *process.children(recursive=True)]
        assert status(instance, again) == dg.DagsterRunStatus.QUEUED, "the pool lets one run in"
        if with_code_server:
            made.processes["code"].kill()
            made.processes["code"].wait()
        process.send_signal(signal.SIGKILL)
        wait_until(lambda: not any(is_alive(member) for member in tree), 15, "the end of the run's processes")
        if with_code_server:
            made.start_code_server()

        wait_until(lambda: status(instance, killed) == dg.DagsterRunStatus.FAILURE, 60, "the failure")
        by_sensor = any(f"its process {process.pid} is gone" in entry.message for entry in instance.all_logs(killed))
        assert by_sensor or not with_code_server
        wait_until(
            lambda: len(runs_of_today(instance)) == 3 and all(run.is_finished for run in runs_of_today(instance)),
            120,
            "the end of the retry and of the second request\n" + made.logs(),
        )
        told = {run.run_id: run for run in runs_of_today(instance)}
        [retried] = [run for run in told.values() if run.parent_run_id == killed]
        statuses = sorted([told[again].status.value, retried.status.value])
        assert statuses == ["CANCELED", "SUCCESS"], "one of them made the day, the other found it made"
        assert instance.event_log_storage.get_concurrency_info(DAILY_POOL).active_slot_count == 0
        assert_every_slice_once(made)


@pytest.mark.chaos
def test_after_three_days_without_a_daemon_the_schedule_makes_them_in_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=150)).strftime("%H:%M")
    with deployment(tmp_path, MMT_DAILY_AT=at) as made, instance_of(tmp_path, monkeypatch) as instance:
        made.up()
        wait_until(lambda: runs_of_today(instance), 240, "the schedule's tick\n" + made.logs())
        wait_until(lambda: all(run.is_finished for run in runs_of_today(instance)), 120, "the run's end")
        [run] = runs_of_today(instance)
        assert run.status == dg.DagsterRunStatus.SUCCESS
        assert run.job_name == DAILY_JOB
        first, last = (run.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))
        assert (first, last) == ((LOADED + timedelta(days=1)).isoformat(), TODAY.isoformat())
        assert_every_slice_once(made)


@pytest.mark.chaos
def test_in_a_new_project_the_history_comes_first_and_the_day_follows_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with deployment(tmp_path, is_new=True) as made, instance_of(tmp_path, monkeypatch) as instance:
        made.up()
        # A sensor for runs begins with those that end after its first tick.
        wait_until(lambda: "Initiating catch_up_sensor" in made.logs(), 60, "the sensor's first tick")
        request = daily_run_request(instance, made.settings, TODAY)
        assert isinstance(request, dg.RunRequest), request
        history = made.launch(instance, request)
        wait_until(lambda: runs_of_today(instance), 180, "the request for the day\n" + made.logs())
        assert status(instance, history) == dg.DagsterRunStatus.SUCCESS
        wait_until(lambda: all(run.is_finished for run in runs_of_today(instance)), 120, "the run's end")
        assert [run.status for run in runs_of_today(instance)] == [dg.DagsterRunStatus.SUCCESS]
        for table in FORECASTS:
            days = made.rows(f"SELECT DISTINCT as_of_date::DATE::VARCHAR FROM {table.table}")
            assert days == [(TODAY.isoformat(),)], table.table
