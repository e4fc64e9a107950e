"""What the pipeline costs beside the work in it: python -m benchmarks.pipeline --json.

One simulated source (arrays of random orders, not the sample world, so that its size is an option), one project folder
with Dagster's real storage, and three measurements in processes of their own:

- backfill: raw and features for all days in one run, against the same run with empty asset bodies (Dagster's floor) and
  against hand-written DuckDB SQL that makes the same tables without Dagster, checks, fences or late rows;
- daily: one day's whole run, against the forecast library's calls on the same inputs, compiled and warm; and against a
  process that starts, reads the inputs and makes the same calls (a run, too, begins with nothing loaded);
- on demand: one concert's forecast from its launch, with the code location loaded by a real code server and daemon, to
  its row in the table, after a day's run (`fit_s` from what that learned, `learning_fit_s` without); and
  `python -m mmt_assets forecast CONCERT`, from the keystroke to the prompt.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import pandas as pd

from mmt_assets.build import build_definitions
from mmt_assets.cli.instance import open_instance
from mmt_assets.job_names import CONCERT_JOB, DAILY_JOB
from mmt_assets.partitions import CONCERTS
from mmt_assets.settings import Settings
from mmt_assets_tests.servers.dagster_deployment import ENDED, Deployment, status, wait_until

LAST = date(2026, 6, 30)
_ROOT = Path(__file__).parents[1]
_ON_SALE_DAYS = 60
_REFUNDED_SHARE = 0.05
_DAY = 86_400
_BARE_SQL = Path(__file__).with_name("bare_pipeline.sql")
_FLOORS = {"backfill": "floor", "daily": "daily_floor"}
_TABLES = (
    "raw.concerts",
    "raw.ticket_orders",
    "raw.ticket_refunds",
    "raw.makes",
    "raw.rejected_rows",
    "features.concert_sales",
    "features.city_demand",
)


def write_source(directory: Path, *, days: int, concerts: int) -> None:
    """Random orders: `concerts` that are ahead on the last day and half as many finished ones before."""
    random = np.random.default_rng(7)
    directory.mkdir(parents=True)
    first, total = pd.Timestamp(LAST) - pd.Timedelta(days=days - 1), concerts + concerts // 2
    ahead = np.arange(total) < concerts
    to_show = np.where(ahead, random.integers(1, 45, total), -random.integers(1, max(days - 75, 2), total))
    # Days since the first one.
    show = days - 1 + to_show
    on_sale = np.maximum(show - _ON_SALE_DAYS, 0)
    length = np.maximum(np.minimum(show, days) - on_sale, 1)

    def instant(seconds: np.ndarray) -> pd.DatetimeIndex:
        return first + pd.to_timedelta(seconds, unit="s")

    names = np.array([f"concert-{number:05d}" for number in range(total)])
    frame = pd.DataFrame(
        {"concert_id": names, "on_sale_at": instant(on_sale * _DAY), "show_at": instant(show * _DAY + 72_000)}
    )
    places = {"city": "Berlin", "country": "Germany", "venue": None, "status_at": None, "timezone": None}
    artists = np.array([f"artist {number % 50}" for number in range(total)])
    frame = frame.assign(artist=artists, capacity=2000, status="on_sale", **places)
    frame.to_parquet(directory / "concerts.parquet")

    counts = random.poisson(3 * length)
    concert = np.repeat(np.arange(total), counts)
    ordered = (on_sale[concert] * _DAY + random.random(len(concert)) * length[concert] * _DAY).astype(int)
    refunded = random.random(len(concert)) < _REFUNDED_SHARE
    pd.DataFrame(
        {
            "order_id": [f"order-{number}" for number in range(len(concert))],
            "concert_id": names[concert],
            "ordered_at": instant(ordered),
            "quantity": random.integers(1, 5, len(concert)),
            "unit_price": "50.00",
            "currency": "EUR",
            "status": np.where(refunded, "refunded", "paid"),
            "status_at": instant(ordered + 129_600).where(refunded),
        }
    ).to_parquet(directory / "ticket_orders.parquet")
    makes = 100 * days
    made = instant((random.random(makes) * days * _DAY).astype(int))
    fans = [f"fan-{number}" for number in random.integers(0, makes // 2, makes)]
    place = {"artist": random.choice(artists, makes), "city": "Berlin", "country": "Germany"}
    pd.DataFrame({"fan_id": fans, **place, "made_at": made}).to_parquet(directory / "makes.parquet")


def empty_bodies(definitions: dg.Definitions) -> dg.Definitions:
    """The same assets, checks and partitions, with bodies that do nothing."""

    def empty(original: dg.AssetsDefinition) -> dg.AssetsDefinition:
        specs, checks = list(original.specs), list(original.check_specs)

        @dg.multi_asset(
            name=original.op.name,
            specs=specs,
            check_specs=checks,
            partitions_def=original.partitions_def,
            backfill_policy=original.backfill_policy,
        )
        def body() -> Any:
            for spec in specs:
                yield dg.MaterializeResult(asset_key=spec.key)
            for check in checks:
                yield dg.AssetCheckResult(check_name=check.name, asset_key=check.asset_key, passed=True)

        return body

    assets = [empty(asset) for asset in definitions.assets or [] if isinstance(asset, dg.AssetsDefinition)]
    return dg.Definitions(assets=assets, jobs=list(definitions.jobs or []), executor=dg.in_process_executor)


def run_days(variables: Mapping[str, str], first: date, last: date, groups: tuple[str, ...], empty: bool) -> dict:
    """One run of the daily job, or of some of its groups; seconds and the peak memory of this process."""
    os.environ.update(variables)
    definitions = build_definitions(Settings.from_env())
    job = (empty_bodies(definitions) if empty else definitions).resolve_job_def(DAILY_JOB)
    with open_instance() as instance:
        started, worked = time.perf_counter(), time.process_time()
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[key for key in job.asset_layer.executable_asset_keys if key.path[0] in groups],
            tags={
                "dagster/asset_partition_range_start": first.isoformat(),
                "dagster/asset_partition_range_end": last.isoformat(),
            },
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    if not result.success:
        raise RuntimeError("the run failed")
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run_bare_sql(folder: Path, days: tuple[date, date]) -> dict[str, Any]:
    """The backfill's tables by hand-written SQL, straight from the files; seconds and what it made."""
    path, (first, last) = folder / "bare.duckdb", days
    path.unlink(missing_ok=True)
    script = _BARE_SQL.read_text(encoding="utf-8")
    started, worked = time.perf_counter(), time.process_time()
    with duckdb.connect(str(path)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for statement, value in (
            ("SET VARIABLE source = $value", str(folder / "source")),
            ("SET VARIABLE first = $value", first),
            ("SET VARIABLE last = $value", last),
        ):
            connection.execute(statement, {"value": value})
        connection.execute(script)
    seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    return {"seconds": seconds, "cpu_seconds": cpu, "made": made_rows(path)}


def made_rows(path: Path) -> dict[str, int]:
    """Rows of every table, and the tickets of all days: what pipeline and hand-written SQL must agree on."""
    with duckdb.connect(str(path), read_only=True) as connection:
        counts = {table: connection.table(table).count("*").fetchall()[0][0] for table in _TABLES}
        sales = connection.table("features.concert_sales")
        return counts | {name: int(sales.sum(name).fetchall()[0][0]) for name in ("tickets_sold", "tickets_net")}


def run_bare_library(variables: Mapping[str, str], day: date, calls: int) -> dict[str, float]:
    """The forecast library on the day's inputs in a process of its own: the last round of calls, and all of it."""
    path = Path(variables["MMT_HOME"]) / "warehouse.duckdb"
    command = [sys.executable, "-m", "benchmarks.bare_forecast", str(path), day.isoformat(), f"--calls={calls}"]
    started = time.perf_counter()
    said = subprocess.run(command, cwd=_ROOT, capture_output=True, check=True, text=True).stdout
    whole, told = time.perf_counter() - started, json.loads(said.splitlines()[-1])
    return {"seconds": told["seconds"][-1], "process_seconds": whole, "concerts": float(told["concerts"])}


def run_on_demand(variables: Mapping[str, str], concert_ids: Sequence[str]) -> dict[str, float]:
    """One concert's forecast as a click in the UI makes it, through a real code server and daemon.

    The first concert warms the disk up and finds nothing learned; of the others the median counts, by the time until
    the row was in the table.
    """
    os.environ.update(variables)
    shutil.rmtree(Settings.from_env(variables).models_path)
    folder = Path(variables["DAGSTER_HOME"])
    deployment = Deployment(folder, **{name: value for name, value in variables.items() if name.startswith("MMT_")})
    measured = list[dict[str, float]]()
    with open_instance() as instance:
        instance.add_dynamic_partitions(str(CONCERTS.name), list(concert_ids))
        try:
            deployment.up()
            with deployment.workspace(instance) as workspace:
                for concert_id in concert_ids:
                    request = dg.RunRequest(job_name=CONCERT_JOB, tags={"dagster/partition": concert_id})
                    clicked = time.time()
                    run_id = deployment.launch_in(workspace, request)
                    wait_until(lambda run_id=run_id: status(instance, run_id) in ENDED, 300, "the run's end")
                    measured.append(parts_of_run(instance, run_id, clicked))
        finally:
            deployment.down()
    median = sorted(measured[1:], key=lambda parts: parts["total_s"])[len(measured[1:]) // 2]
    return {**median, "learning_fit_s": measured[0]["fit_s"]}


def parts_of_run(instance: dg.DagsterInstance, run_id: str, clicked: float) -> dict[str, float]:
    """Where the time of an on-demand run went, by Dagster's events and the worker's own account."""
    entries = {entry.dagster_event_type: entry for entry in instance.all_logs(run_id)}
    if dg.DagsterEventType.ASSET_MATERIALIZATION not in entries:
        raise RuntimeError(f"run {run_id} failed: {entries[dg.DagsterEventType.STEP_FAILURE].user_message}")
    shown = entries[dg.DagsterEventType.ASSET_MATERIALIZATION]
    step_started = entries[dg.DagsterEventType.STEP_START].timestamp - clicked
    metadata = shown.asset_materialization.metadata if shown.asset_materialization else {}
    told = {name: float(str(value.value)) for name, value in metadata.items() if name.endswith("_seconds")}
    inside = [told[f"{part}_seconds"] for part in ("read", "fit", "write", "export")]
    worker_start = told["worker_seconds"] - sum(inside)
    return {
        # Until the row is in the table; its export comes after it.
        "total_s": step_started + worker_start + sum(inside[:3]),
        "launch_s": step_started,
        "worker_start_s": worker_start,
        "read_s": inside[0],
        "fit_s": inside[1],
        "write_s": inside[2],
        # Until the run shows it, with its verdict, checks and plot.
        "shown_s": shown.timestamp - clicked,
    }


def run_command(variables: Mapping[str, str], concert_id: str) -> float:
    """Seconds of the command line's forecast of one concert, from the keystroke to the prompt."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "mmt_assets", "forecast", concert_id],
        cwd=variables["DAGSTER_HOME"],
        env={**os.environ, **variables},
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - started


def in_own_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """Memory and caches of one measurement do not reach the next."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _project(folder: Path, name: str, first: date) -> dict[str, str]:
    """A new project folder over the source, as variables."""
    home = folder / name
    home.mkdir()
    shutil.copy(_ROOT / "dagster.yaml", home)
    return {
        "DAGSTER_HOME": str(home),
        "MMT_SOURCE": str(folder / "source"),
        "MMT_HOME": str(home / ".mmt"),
        "MMT_TIMEZONE": "UTC",
        "MMT_FIRST_DAY": first.isoformat(),
        "MMT_LAST_DAY": LAST.isoformat(),
        "MMT_MAX_CONCERT_EVENTS": "0",
        # As the Makefile has it.
        "DAGSTER_EVENT_BATCH_SIZE": "500",
    }


def measure(folder: Path, *, days: int, concerts: int, repeats: int) -> dict[str, dict[str, float]]:
    """All three measurements; of repetitions, each in new project folders, the fastest of each kind counts."""
    write_source(folder / "source", days=days + 1, concerts=concerts)
    first, backfilled = LAST - timedelta(days=days), LAST - timedelta(days=1)
    history, everything = ("raw", "features"), ("raw", "features", "forecasts")
    runs = defaultdict[str, list[dict[str, Any]]](list)
    real: dict[str, str] = {}

    for number in range(repeats):
        empty, real = (_project(folder, f"{name}{number}", first) for name in ("empty", "real"))
        # In turn, so that a busy machine slows all of them.
        runs["floor"].append(in_own_process(run_days, empty, first, backfilled, history, True))
        runs["backfill"].append(in_own_process(run_days, real, first, backfilled, history, False))
        runs["bare"].append(in_own_process(run_bare_sql, folder, (first, backfilled)))
        if (made := made_rows(Path(real["MMT_HOME"]) / "warehouse.duckdb")) != runs["bare"][-1]["made"]:
            raise RuntimeError(f"the pipeline made {made}, the hand-written SQL {runs['bare'][-1]['made']}")
        runs["daily_floor"].append(in_own_process(run_days, empty, LAST, LAST, everything, True))
        runs["daily"].append(in_own_process(run_days, real, LAST, LAST, everything, False))
        runs["process"].append(run_bare_library(real, LAST, 1))
        runs["library"].append(run_bare_library(real, LAST, 2))
    best = {name: min(made, key=lambda run: run["seconds"]) for name, made in runs.items()}
    process = min(run["process_seconds"] for run in runs["process"])
    on_demand = in_own_process(run_on_demand, real, [f"concert-{number:05d}" for number in range(4)])
    on_demand["command_s"] = run_command(real, "concert-00000")
    beyond = {name: best[name]["seconds"] - best[floor]["seconds"] for name, floor in _FLOORS.items()}
    return {
        "on_demand": on_demand,
        "backfill": {
            "days": days,
            "seconds": best["backfill"]["seconds"],
            "dagster_floor_seconds": best["floor"]["seconds"],
            "bare_sql_seconds": best["bare"]["seconds"],
            "ratio": beyond["backfill"] / best["bare"]["seconds"],
            # The same in processor time, which a machine that others use as well distorts less.
            "cpu_ratio": (best["backfill"]["cpu_seconds"] - best["floor"]["cpu_seconds"]) / best["bare"]["cpu_seconds"],
            "peak_mb": best["backfill"]["peak_mb"],
        },
        "daily": {
            "concerts": best["library"]["concerts"],
            "seconds": best["daily"]["seconds"],
            "dagster_floor_seconds": best["daily_floor"]["seconds"],
            "bare_library_seconds": best["library"]["seconds"],
            "ratio": beyond["daily"] / best["library"]["seconds"],
            "bare_process_seconds": process,
            "process_ratio": beyond["daily"] / process,
        },
    }


def main() -> None:
    """Measure and print; with --json the last line is the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=400, help="days of the backfill")
    parser.add_argument("--concerts", type=int, default=1000, help="concerts ahead on the day of the daily run")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions of backfill and day; the fastest counts")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON in the last line")
    given = parser.parse_args()
    # For the processes of the measurements, before they import numpy; as the Makefile has it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), days=given.days, concerts=given.concerts, repeats=given.repeats)
    rounded = {name: {key: round(value, 3) for key, value in part.items()} for name, part in figures.items()}
    for name, part in rounded.items():
        print(name)
        for key, value in part.items():
            print(f"  {key:<24}{value:>12,.3f}")
    if given.json:
        print(json.dumps(rounded))


if __name__ == "__main__":
    main()
