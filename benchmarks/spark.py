"""How the forecast scales over Spark executors: python -m benchmarks.spark --concerts 2000 --executors 1 2 --json.

The same library call forecasts the same simulated features (`benchmarks.scale`) in one process, and on local clusters
of real executor processes with one core each. Every result is compared with that of one process, so a row of the table
is also a test. Learning from the pool happens once on the driver; `spread_seconds` is what the executors share. The
last line printed is one JSON object.

With --source and --as-of the concerts are those of a source (`benchmarks.accuracy_sources`) instead.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import pandas as pd

from benchmarks.accuracy_sources import open_source
from benchmarks.scale import AS_OF, fill_warehouse
from mmt_assets.forecasting import ForecastInputs, ForecastOptions, ForecastResult, forecast
from mmt_assets.forecasting.chunks import Published, Task, forecast_chunk
from mmt_assets.forecasting.inputs import Ints
from mmt_assets.forecasting.publishing import Spread
from mmt_assets.spark.chunks import spread_on_spark
from mmt_assets.spark.session import spark_session
from mmt_assets.warehouse import DuckDBWarehouse
from mmt_assets.worker.work import read_inputs

_MEBIBYTES = 2048


def one_process(task: Task, chunks: Sequence[Ints]) -> Iterable[Published]:
    """Make all chunks here."""
    return [forecast_chunk(task, chunk) for chunk in chunks]


def timed(spread: Spread, took: list[float]) -> Spread:
    """Add the seconds that a spread takes to `took`."""

    def run(task: Task, chunks: Sequence[Ints]) -> Iterable[Published]:
        began = time.monotonic()
        made = list(spread(task, chunks))
        took.append(time.monotonic() - began)
        return made

    return run


def measure(inputs: ForecastInputs, as_of: date, spread: Spread, repeats: int) -> tuple[ForecastResult, float, float]:
    """Forecast several times; returns the result, the least seconds in all and of the spread, warmed up."""
    best_total = best_spread = float("inf")
    result = None
    for repeat in range(repeats + 1):
        took: list[float] = []
        began = time.monotonic()
        result = forecast(inputs, as_of, options=ForecastOptions(), spread=timed(spread, took))
        total = time.monotonic() - began
        if repeat:
            best_total, best_spread = min(best_total, total), min(best_spread, took[0])
    assert result is not None  # noqa: S101 - the loop runs at least once
    return result, best_total, best_spread


def same(made: ForecastResult, expected: ForecastResult) -> bool:
    """Whether two results hold the same rows, bit for bit."""
    return made.ticket_sales.equals(expected.ticket_sales) and made.outlook.equals(expected.outlook)


def simulated(concerts: int) -> ForecastInputs:
    """What is known of so many simulated concerts as of `AS_OF`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "warehouse.duckdb"
        fill_warehouse(path, concerts, finished=1500)
        with DuckDBWarehouse(path, 60).open(read_only=True) as session:
            return read_inputs(session, AS_OF, "UTC")


def run(inputs: ForecastInputs, as_of: date, executors: Sequence[int], repeats: int) -> list[dict[str, object]]:
    """Measure these concerts on one process and on clusters."""
    expected, total, spread = measure(inputs, as_of, one_process, repeats)
    concerts = len(expected.outlook)
    rows: list[dict[str, object]] = [_row(concerts, 0, 0.0, total, spread, is_equal=True)]
    for count in executors:
        began = time.monotonic()
        with spark_session(f"local-cluster[{count},1,{_MEBIBYTES}]") as session:
            started = time.monotonic() - began
            made, total, spread = measure(inputs, as_of, spread_on_spark(session), repeats)
        rows.append(_row(concerts, count, started, total, spread, is_equal=same(made, expected)))
    return rows


def _row(
    concerts: int, executors: int, started: float, total: float, spread: float, *, is_equal: bool
) -> dict[str, object]:
    return {
        "concerts": concerts,
        "executors": executors,
        "session_start_seconds": round(started, 1),
        "seconds": round(total, 2),
        "spread_seconds": round(spread, 2),
        "ms_per_concert": round(1000 * spread / concerts, 3),
        "equal_to_one_process": is_equal,
    }


def main() -> None:
    """Print the scaling table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concerts", type=int, nargs="+", default=[2000, 10_000])
    parser.add_argument("--executors", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--source", help="source directory, hotel_rates or sample, instead of simulated concerts")
    parser.add_argument("--as-of", type=date.fromisoformat, default=AS_OF, help="as-of date of --source")
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    given = parser.parse_args()
    os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    if given.source:
        table = run(
            open_source(given.source).as_of(pd.Timestamp(given.as_of)), given.as_of, given.executors, given.repeats
        )
    else:
        sizes = (simulated(concerts) for concerts in given.concerts)
        table = [row for inputs in sizes for row in run(inputs, AS_OF, given.executors, given.repeats)]
    if not given.json:
        print(pd.DataFrame(table).to_string(index=False))
    print(json.dumps({"cores": os.cpu_count(), "scaling": table}))


if __name__ == "__main__":
    main()
