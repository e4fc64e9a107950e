"""Dagster's instance after a year, before and after it forgets: python -m benchmarks.instance --json.

One real daily run (all assets and checks of the code location, with empty bodies, and an event for each active concert)
and one real forecast on demand are recorded in a project folder's instance, and their rows are copied for each day of
the year with that day's ids, partitions and times. Then what people and sensors wait for is measured, old runs are
forgotten as `retention_job` does it, and the same is measured again.
"""

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.pipeline import empty_bodies
from mmt_assets.assets.catalog import asset_key
from mmt_assets.build import build_definitions
from mmt_assets.cli.instance import open_instance
from mmt_assets.contracts import CONCERT_FORECAST, TICKET_ORDERS
from mmt_assets.daily import daily_run_request
from mmt_assets.job_names import CONCERT_JOB, DAILY_JOB
from mmt_assets.partitions import CONCERTS
from mmt_assets.retention import forget_old_runs
from mmt_assets.sensors.stale_runs import fail_stale_runs
from mmt_assets.settings import Settings

LAST = date(2026, 6, 30)
NOW = datetime(2026, 7, 1, 6, tzinfo=UTC)
_ROOT = Path(__file__).parents[1]
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_CONCERT = asset_key(CONCERT_FORECAST)


def record_runs(instance: dg.DagsterInstance, settings: Settings, concerts: list[str]) -> tuple[str, str]:
    """A daily run of the last day and a forecast of the first concert; returns their ids."""
    definitions = empty_bodies(build_definitions(settings))
    instance.add_dynamic_partitions(str(CONCERTS.name), concerts)
    daily = definitions.resolve_job_def(DAILY_JOB).execute_in_process(
        instance=instance, partition_key=LAST.isoformat(), run_config=_QUIET
    )
    for concert in concerts:
        event = dg.AssetMaterialization(_CONCERT, partition=concert, metadata={"as_of_date": LAST.isoformat()})
        instance.report_runless_asset_event(event)
    with closing(sqlite3.connect(_database(instance))) as events:
        # As the daily run itself records them.
        events.execute("UPDATE event_logs SET run_id = ? WHERE run_id = ''", (daily.run_id,))
        events.commit()
    concert = definitions.resolve_job_def(CONCERT_JOB).execute_in_process(
        instance=instance, partition_key=concerts[0], run_config=_QUIET
    )
    return daily.run_id, concert.run_id


def _database(instance: dg.DagsterInstance) -> str:
    storage: Any = instance.event_log_storage
    return storage.get_db_path()


def _runs_database() -> str:
    return str(Path(os.environ["DAGSTER_HOME"]) / ".dagster_home" / "runs" / "runs.db")


def copy_run(
    databases: list[sqlite3.Connection], run_id: str, copy: str, changed: dict[str, str], at: datetime
) -> None:
    """Copy a run's rows under another id, with some texts changed, as of another time.

    Args:
        databases: Event log and runs.
        run_id: Run to copy.
        copy: Id of the copy.
        changed: Texts to replace, e.g. the day.
        at: When it ran.
    """
    replaced = {run_id: copy, **changed}

    def column(name: str) -> str:
        if name == "id":
            return "NULL"
        if "timestamp" in name:
            return "?"
        text = name
        for old, new in replaced.items():
            text = f"replace({text}, '{old}', '{new}')"
        return text

    tables = ("event_logs", "asset_check_executions"), ("runs", "run_tags")
    for database, names in zip(databases, tables, strict=True):
        for table in names:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            times = [at.replace(tzinfo=None).isoformat(" ")] * sum("timestamp" in name for name in columns)
            selected = ", ".join(map(column, columns))
            sql = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {selected} FROM {table} WHERE run_id = ?"  # noqa: S608 - names of Dagster's own tables
            database.execute(sql, (*times, run_id))


def live_a_year(
    instance: dg.DagsterInstance, runs: tuple[str, str], *, days: int, concerts: list[str], asked: int
) -> None:
    """Copies of the two runs: one of each day, and `asked` forecasts on demand a day, oldest first."""
    daily, on_demand = runs
    with closing(sqlite3.connect(_database(instance))) as events, closing(sqlite3.connect(_runs_database())) as stored:
        for number in range(days, 0, -1):
            day = LAST - timedelta(days=number)
            at = datetime(day.year, day.month, day.day, 6, tzinfo=UTC)
            copy_run([events, stored], daily, f"daily-{number}", {LAST.isoformat(): day.isoformat()}, at)
            for one in range(asked):
                concert = concerts[(number + one) % len(concerts)]
                copy_run([events, stored], on_demand, f"asked-{number}-{one}", {concerts[0]: concert}, at)
        events.commit()
        stored.commit()


def waits(instance: dg.DagsterInstance, settings: Settings, concert: str) -> dict[str, float]:
    """Median milliseconds of what the morning, the sensors and a person wait for."""
    [newest] = instance.get_runs(limit=1)
    history = dg.AssetRecordsFilter(_CONCERT, asset_partitions=[concert])
    asked: dict[str, Callable[[], object]] = {
        "daily_run_request_ms": lambda: daily_run_request(instance, settings, LAST),
        "stale_runs_ms": lambda: fail_stale_runs(instance, settings, NOW),
        "page_of_runs_ms": lambda: instance.get_run_records(limit=25),
        "log_of_a_run_ms": lambda: instance.all_logs(newest.run_id),
        "history_of_a_concert_ms": lambda: instance.fetch_materializations(history, limit=25),
        "days_of_a_table_ms": lambda: instance.get_materialized_partitions(asset_key(TICKET_ORDERS)),
        "concerts_materialized_ms": lambda: instance.get_materialized_partitions(_CONCERT),
    }

    def median(call: Callable[[], object]) -> float:
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - started)
        return 1000 * statistics.median(seconds)

    return {name: median(call) for name, call in asked.items()}


def size(instance: dg.DagsterInstance) -> dict[str, float]:
    """Rows, and megabytes that they fill."""
    with closing(sqlite3.connect(_database(instance))) as events, closing(sqlite3.connect(_runs_database())) as stored:
        [(count,)] = events.execute("SELECT COUNT(*) FROM event_logs").fetchall()
        [(runs,)] = stored.execute("SELECT COUNT(*) FROM runs").fetchall()
        [(pages,)], [(free,)], [(page,)] = (
            events.execute(f"PRAGMA {name}").fetchall() for name in ("page_count", "freelist_count", "page_size")
        )
    return {"runs": runs, "events": count, "used_mb": (pages - free) * page / 2**20}


def measure(folder: Path, *, days: int, concerts: int, asked: int) -> dict[str, dict[str, float]]:
    """Record, copy, measure, forget, measure."""
    shutil.copy(_ROOT / "dagster.yaml", folder)
    os.environ["DAGSTER_HOME"] = str(folder)
    first = LAST - timedelta(days=days)
    given = {"home": folder / ".mmt", "first_day": first, "last_day": LAST, "timezone": "UTC"}
    settings = Settings.model_validate(given)
    names = [f"concert-{number:05d}" for number in range(concerts)]
    with open_instance() as instance:
        runs = record_runs(instance, settings, names)
        day = size(instance) | waits(instance, settings, names[1])
        live_a_year(instance, runs, days=days, concerts=names, asked=asked)
    with open_instance() as instance:
        year = size(instance) | waits(instance, settings, names[1])
        made = instance.get_materialized_partitions(asset_key(TICKET_ORDERS))
        started = time.perf_counter()
        forget_old_runs(instance, settings, NOW)
        seconds = time.perf_counter() - started
        after = size(instance) | waits(instance, settings, names[1])
        if instance.get_materialized_partitions(asset_key(TICKET_ORDERS)) != made:
            raise RuntimeError("days that were made count as missing")
    return {"first_day": day, "after_a_year": year, "forgotten": after | {"forget_s": seconds}}


def main() -> None:
    """Measure and print; with --json the last line is the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=365, help="days of history")
    parser.add_argument("--concerts", type=int, default=200, help="active concerts; a daily run records each")
    parser.add_argument("--asked", type=int, default=20, help="forecasts on demand a day")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON in the last line")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), days=given.days, concerts=given.concerts, asked=given.asked)
    names = dict.fromkeys(name for part in figures.values() for name in part)
    print(f"{'':<26}" + "".join(f"{name:>16}" for name in figures))
    for name in names:
        cells = (f"{part[name]:>16,.1f}" if name in part else f"{'':>16}" for part in figures.values())
        print(f"{name:<26}" + "".join(cells))
    if given.json:
        print(json.dumps({k: {name: round(value, 3) for name, value in part.items()} for k, part in figures.items()}))


if __name__ == "__main__":
    main()
