"""The daily run under a real daemon and code server: killed, replaced, asked for twice."""

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
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
from mmt_assets.job_names import DAILY_JOB
from mmt_assets_tests.servers.dagster_deployment import Deployment, instance_of, is_alive, status, wait_until

KILLS = 100
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
    # The demo forecasts its last day and the one before.
    made_days = [(LOADED + timedelta(days=n)).isoformat() for n in range(-1, 4)]
    for table in FORECASTS:
        days = made.rows(f"SELECT DISTINCT as_of_date::DATE::VARCHAR FROM {table.table} ORDER BY 1")
        assert [day for (day,) in days] == made_days, table.table
    ordered = made.rows(f"SELECT SUM(quantity), COUNT(DISTINCT order_date) FROM {TICKET_ORDERS.table}")
    sold = made.rows(f"SELECT SUM(tickets_sold), COUNT(DISTINCT sales_date) FROM {CONCERT_SALES.table}")
    assert ordered[0][0] == sold[0][0]
    assert ordered[0][1] == (TODAY - FIRST).days + 1


def has_begun(instance: dg.DagsterInstance, run_id: str, step: str) -> bool:
    return any(entry.step_key == step for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START))


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
        # The worker is there from the run's start; it is to be killed at its work.
        wait_until(lambda: has_begun(instance, killed, "day_forecasts"), 90, "the forecasts' step")
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


def victims(made: Deployment) -> dict[str, int]:
    """What may be killed now: the daemon, the code server, and the processes of runs."""
    code = psutil.Process(made.processes["code"].pid)
    found = {name: made.processes[name].pid for name in ("code", "daemon")}
    runs = [child for child in code.children() if any("worker" in c for g in child.children() for c in g.cmdline())]
    return found | {f"run {child.pid}": child.pid for child in runs}


@pytest.mark.chaos
def test_kills_of_daemon_code_server_and_runs_at_random_moments_lose_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = random.Random(17)  # noqa: S311 - the test's input
    with deployment(tmp_path) as made, instance_of(tmp_path, monkeypatch) as instance:
        made.up()
        killed = Counter[str]()
        for _ in range(KILLS):
            # As the schedule asks each morning; on purpose, when the day is made already.
            request = daily_run_request(instance, made.settings, TODAY, rerun=bool(killed))
            if isinstance(request, dg.RunRequest):
                made.launch(instance, request)
            # The moment of the kill is the test's input, from a fixed seed.
            time.sleep(moments.uniform(0, 8))
            name, pid = moments.choice(sorted(victims(made).items()))
            family = psutil.Process(pid).children(recursive=True)
            os.kill(pid, signal.SIGKILL)
            killed[name.split()[0]] += 1
            if name in made.processes:
                made.processes[name].wait()
            if name == "code":
                # Runs are its children and live on; each has its own worker, which must not outlive it.
                made.start_code_server()
            elif name == "daemon":
                made.start_daemon()
            else:
                wait_until(lambda family=family: not any(map(is_alive, family)), 15, "the end of the run's worker")

        def all_ended() -> bool:
            return all(run.is_finished for run in runs_of_today(instance))

        wait_until(all_ended, 600, "the end of all runs\n" + made.logs())
        if not any(run.status == dg.DagsterRunStatus.SUCCESS for run in runs_of_today(instance)):
            request = daily_run_request(instance, made.settings, TODAY)
            assert isinstance(request, dg.RunRequest), request
            made.launch(instance, request)
            wait_until(all_ended, 300, "the run that repairs everything\n" + made.logs())
        assert set(killed) == {"code", "daemon", "run"}, killed
        assert instance.event_log_storage.get_concurrency_info(DAILY_POOL).active_slot_count == 0
        assert_every_slice_once(made)
