"""The whole daily job and an on-demand forecast on BigQuery, held row for row against DuckDB."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from mmt_assets.assets.catalog import asset_key
from mmt_assets.cli.main import app
from mmt_assets.contracts import CONCERT_FORECAST
from mmt_assets.resources.warehouse import BYTES_BILLED_TAG, SLOT_SECONDS_TAG
from mmt_assets.warehouse import Statement
from mmt_assets_tests.both_engines import cloud_settings, compare, make_days
from mmt_assets_tests.servers.bigquery import BigQueryPlace
from mmt_assets_tests.small_world import FIRST, LAST, known_by, world

ON_DEMAND = "c12"


def assert_commands_agree(local: Path, place: BigQueryPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """`compare` finds both warehouses equal until one is changed; `query` reads BigQuery's."""
    for name, value in {**place.settings(), "MMT_ENV": "gcp", "MMT_WAREHOUSE": str(local)}.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
        return done.exit_code, done.output

    code, told = run("compare", str(LAST))
    assert code == 0, told
    assert "forecasts.published_outlook" in told
    with duckdb.connect(str(local)) as connection:
        connection.execute("UPDATE features.concert_sales SET tickets_sold = 77 WHERE sales_date = $day", {"day": LAST})
    code, told = run("compare", str(LAST))
    assert code == 1
    assert "tickets_sold" in told
    code, told = run("query", "SELECT COUNT(*) AS concerts FROM forecasts.concert_outlook")
    assert code == 0, told
    assert re.search(r"\b3\b", told), told


@pytest.mark.timeout(1200)
def test_the_daily_job_gives_the_same_rows_on_both_engines(
    new_pipeline: Callable[..., Any], bigquery_place: BigQueryPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = new_pipeline(first_day=FIRST, last_day=LAST, worker_processes=1, reload_days=2)
    pipeline.put(**known_by(world(pipeline), LAST))
    make_days(pipeline.settings, ON_DEMAND)
    instance = make_days(cloud_settings(pipeline.settings, bigquery_place, pipeline.source), ON_DEMAND)

    found = {table.table: table.describe() for table in compare(pipeline.settings, bigquery_place)}
    assert {table: told for table, told in found.items() if told != "equal"} == {}
    with bigquery_place.warehouse().open(read_only=True) as remote:
        shown = remote.query(Statement("SELECT DISTINCT concert_id FROM forecasts.concert_forecast"))
        left = bigquery_place.server.client().list_tables(f"{bigquery_place.project}.{bigquery_place.prefix}staging")
        staged = [table.table_id for table in left if not table.table_id.startswith(remote.jobs.session)]
    assert_commands_agree(pipeline.settings.warehouse_path, bigquery_place, monkeypatch)
    assert ON_DEMAND in set(shown["concert_id"])
    assert staged == [], "sessions delete their staging tables"

    runs = instance.get_runs()
    assert all(int(run.tags[BYTES_BILLED_TAG]) > 0 and float(run.tags[SLOT_SECONDS_TAG]) > 0 for run in runs)
    observed = instance.fetch_observations(asset_key(CONCERT_FORECAST), limit=1).records
    assert observed[0].asset_observation
    assert int(str(observed[0].asset_observation.metadata["bytes_billed"].value)) > 0
    run_labels = {job.labels.get("run") for job in bigquery_place.server.client().list_jobs(max_results=500)}
    assert {run.run_id for run in runs} <= run_labels
