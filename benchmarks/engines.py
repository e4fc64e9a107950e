"""Whether DuckDB and BigQuery make the same rows: python -m benchmarks.engines --source DIR --as-of DAY.

All days of a source up to DAY are loaded, DAY is forecast and one concert is forecast on demand, by the real jobs: once
on DuckDB, once on BigQuery's emulator in a process of its own, through Google's client. Then every table is compared
row for row; who made the rows, and when, is left out. Ends with 1 when a row differs. Seconds are printed to show what
was waited for: the emulator's say nothing about BigQuery.
"""

import argparse
import os
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd

from mmt_assets.resources import SourceResource
from mmt_assets.settings import Settings
from mmt_assets.warehouse import Statement
from mmt_assets.warehouse.duckdb import in_memory
from mmt_assets_tests.both_engines import cloud_settings, compare, make_days
from mmt_assets_tests.servers.bigquery import fresh_place, running_bigquery


def _settings(home: Path, source: str, first: date | None, as_of: date) -> Settings:
    given = {"home": home, "source": source, "first_day": first, "last_day": as_of, "timezone": "UTC"}
    return Settings.model_validate({key: value for key, value in given.items() if value is not None})


def _active_concert(directory: Path, as_of: date) -> str:
    """A concert that is ahead: the first by its name."""
    with in_memory(directory) as session:
        ahead = Statement(
            "SELECT MIN(concert_id) AS concert_id FROM source.concerts WHERE DATE(CAST(show_at AS TIMESTAMP)) > @as_of",
            {"as_of": as_of},
        )
        return str(session.scalar(ahead))


def main() -> None:
    """Make the days on both engines and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="sample", help="directory of source files; default: the sample world")
    parser.add_argument("--as-of", type=date.fromisoformat, default=None, help="last day (default: yesterday)")
    parser.add_argument(
        "--first-day", type=date.fromisoformat, default=None, help="first day (default: 548 days before)"
    )
    given = parser.parse_args()
    # For the workers' processes; as the Makefile has it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder, running_bigquery() as server, fresh_place(server) as place:
        as_of = given.as_of or datetime.now(UTC).date() - timedelta(days=1)
        local = _settings(Path(folder), given.source, given.first_day, as_of)
        directory = Path(
            SourceResource(path=local.source_location, is_sample=local.source == "sample").location(
                first_day=local.partitions_start(), last_day=as_of
            )
        )
        concert = _active_concert(directory, as_of)
        seconds = {}
        for engine, settings in (("DuckDB", local), ("BigQuery's emulator", cloud_settings(local, place, directory))):
            began = time.monotonic()
            make_days(settings, concert)
            seconds[engine] = time.monotonic() - began
        compared = list(compare(local, place))
    rows = [(found.table, *found.rows, found.describe()) for found in compared]
    print(pd.DataFrame(rows, columns=["table", "DuckDB", "BigQuery", "verdict"]).to_string(index=False))
    print(", ".join(f"{engine} {value:.0f} s" for engine, value in seconds.items()))
    if not all(found.is_equal for found in compared):
        sys.exit("The engines differ.")


if __name__ == "__main__":
    main()
