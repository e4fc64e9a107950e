"""The day's forecasts on a Spark cluster of several processes: the rows are those of one machine."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from mmt_assets.contracts import CONCERT_OUTLOOK, TICKET_SALES
from mmt_assets.forecasting import ForecastOptions
from mmt_assets.forecasting.chunks import Published, Task, forecast_chunk
from mmt_assets.forecasting.inputs import Ints
from mmt_assets.forecasting.model import forecast
from mmt_assets.forecasting.publishing import forecast_part, part_of
from mmt_assets_tests.integration.test_pipeline_load import DAY_AGAIN, LAST, Project
from mmt_assets_tests.servers.required import missing
from mmt_assets_tests.test_forecasting_model_bounds import AS_OF, world

OF_THE_RUN = ("computed_at", "run_id", "run_created_at")


@pytest.mark.parametrize("chosen", [slice(None), slice(1, None, 2), slice(-1, None)])
def test_a_part_alone_is_forecast_as_it_is_within_the_whole(chosen: slice) -> None:
    seen: list[tuple[Published, Published]] = []

    def apart(task: Task, chunks: Sequence[Ints]) -> list[Published]:
        for chunk in chunks:
            rows = chunk[chosen]
            part = part_of(task, rows)
            assert len(part.concerts.ids) == len(rows)
            seen.append((forecast_part(part, rows), forecast_chunk(task, rows)))
        return [forecast_chunk(task, chunk) for chunk in chunks]

    forecast(world(3), AS_OF, options=ForecastOptions(origins=3), spread=apart)
    [(alone, within)] = seen
    pd.testing.assert_frame_equal(alone.ticket_sales, within.ticket_sales)
    pd.testing.assert_frame_equal(alone.outlook, within.outlook)


def test_a_day_made_on_a_cluster_has_the_rows_of_one_machine(tmp_path: Path) -> None:
    if shutil.which("java") is None:
        missing("Java 17, which Spark needs,", "apt-get install openjdk-17-jre-headless")
    project = Project(tmp_path)
    tables = (TICKET_SALES, CONCERT_OUTLOOK)

    def rows() -> list[pd.DataFrame]:
        with project.connect() as connection:
            found = [connection.sql(f"SELECT * FROM {table.table} ORDER BY ALL").df() for table in tables]
        return [frame.drop(columns=list(OF_THE_RUN)) for frame in found]

    def runs() -> set[str]:
        of_last_day = f"SELECT DISTINCT run_id FROM {CONCERT_OUTLOOK.table} WHERE as_of_date = DATE '{LAST}'"
        return {run for (run,) in project.rows(of_last_day)}

    on_one_machine, first = rows(), runs()
    day = DAY_AGAIN.format(day=f"{LAST.year}, {LAST.month}, {LAST.day}")
    printed = project.finish(project.start("-c", day, MMT_SPARK_MASTER="local-cluster[2,1,1024]"))
    assert first.isdisjoint(runs()), printed
    for made, expected in zip(rows(), on_one_machine, strict=True):
        pd.testing.assert_frame_equal(made, expected)
