"""A small pipeline on real parts: source files, Dagster's in-memory instance, a DuckDB file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import date, datetime
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from dagster._core.storage.defs_state.base import set_defs_state_storage

from mmt_assets.build import build_definitions
from mmt_assets.contracts import TableContract
from mmt_assets.job_names import DAILY_JOB
from mmt_assets.settings import Settings
from mmt_assets.warehouse import DuckDBWarehouse, Statement
from mmt_assets.warehouse.compose import columns, compose, table

Row = dict[str, Any]
Rows = Sequence[Row] | pd.DataFrame
Day = date | str

# Fixtures that start servers (emulators, test servers, a browser), one module each.
pytest_plugins = [
    "mmt_assets_tests.servers.bigquery",
    "mmt_assets_tests.board_tables",
    "mmt_assets_tests.servers.browser",
    "mmt_assets_tests.servers.compute_engine.fixture",
    "mmt_assets_tests.servers.gcs",
    "mmt_assets_tests.servers.postgres",
    "mmt_assets_tests.servers.pubsub",
    "mmt_assets_tests.servers.receiver",
    "mmt_assets_tests.small_world",
    "mmt_assets_tests.worker_jobs",
    "mmt_assets_tests.request_office",
    # Made of others above, which pytest wants to see first.
    "mmt_assets_tests.servers.analysis_server",
]

_CONCERT = ("concert_id", "artist", "city", "country", "venue", "capacity", "on_sale_at", "show_at")
_ORDER = ("order_id", "concert_id", "ordered_at", "quantity", "unit_price")
_COLUMNS = {
    "concerts": [*_CONCERT, "status", "status_at", "timezone"],
    "ticket_orders": [*_ORDER, "currency", "status", "status_at"],
    "makes": ["fan_id", "artist", "city", "country", "made_at"],
}
_SOURCE_GROUPS = ("raw", "features")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the long form of the histories of machines is."""
    parser.addoption("--histories", type=int, default=200, help="histories of machines to play (make chaos)")
    parser.addoption("--seed", type=int, default=1000, help="number of the first of them")


def pytest_configure(config: pytest.Config) -> None:
    """A warning that is raised in our own modules fails the test."""
    config.addinivalue_line("filterwarnings", r"error:::mmt_assets(\..*)?$")


@pytest.fixture(autouse=True)
def no_storage_of_another_test() -> Iterator[None]:
    """Dagster keeps the state storage of the instance that was entered last, even after that instance is gone."""
    with set_defs_state_storage(None):
        yield


def concert(concert_id: str | None = "c1", **values: Any) -> Row:
    """A concert that has been on sale for long and lies far ahead."""
    defaults: Row = {
        "artist": "Epik High",
        "city": "Berlin",
        "country": "Germany",
        "venue": "Columbiahalle",
        "capacity": 3500,
        "on_sale_at": "2025-12-01 00:00:00",
        "show_at": "2026-06-01 10:00:00",
        "status": "on_sale",
        "status_at": None,
        "timezone": None,
    }
    return {"concert_id": concert_id, **defaults, **values}


def order(order_id: str | None = "o1", ordered_at: str | None = "2026-01-02 03:00:00", **values: Any) -> Row:
    """Two paid tickets of concert c1 at noon of 2 January in Seoul."""
    defaults: Row = {
        "concert_id": "c1",
        "quantity": 2,
        "unit_price": "50.00",
        "currency": "EUR",
        "status": "paid",
        "status_at": None,
    }
    return {"order_id": order_id, "ordered_at": ordered_at, **defaults, **values}


def make(fan_id: str | None = "fan-1", made_at: str | None = "2026-01-02 03:00:00", **values: Any) -> Row:
    """A fan asks for Epik High in Berlin at noon of 2 January in Seoul."""
    return {
        "fan_id": fan_id,
        "artist": "Epik High",
        "city": "Berlin",
        "country": "Germany",
        "made_at": made_at,
        **values,
    }


class Pipeline:
    """Raw and feature assets over a source directory that a test writes.

    Attributes:
        settings: Settings of the next load; `last_day` is the end of the first load unless a test sets it.
        instance: Dagster instance, in memory.
        source: Directory of the source files.
    """

    concert = staticmethod(concert)
    order = staticmethod(order)
    make = staticmethod(make)

    def __init__(self, directory: Path, instance: dg.DagsterInstance, **settings: Any) -> None:
        self.instance = instance
        self.source = directory / "source"
        self.source.mkdir(parents=True)
        given = {"first_day": date(2026, 1, 1), "last_day": date(2026, 1, 10), "reload_days": 2, **settings}
        self.settings = Settings(source=str(self.source), home=directory / "home", **given)
        self._definitions: dict[str, dg.JobDefinition] = {}
        self.put(concerts=[concert()], ticket_orders=[order()], makes=[make()])

    def put(self, **tables: Rows | None) -> None:
        """Replace source tables, see `put_all`."""
        self.put_all(tables)

    def put_all(self, tables: Mapping[str, Rows | None], suffix: str = ".parquet") -> None:
        """Replace source tables by name; None takes a table away."""
        for name, rows in tables.items():
            for old in self.source.glob(f"{name}*"):
                old.unlink()
            if rows is None:
                continue
            frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows), columns=_COLUMNS[name])
            self.put_file(f"{name}{suffix}", frame)

    def put_file(self, name: str, rows: Sequence[Row] | pd.DataFrame) -> None:
        """Write one source file, as text throughout unless the rows are a frame."""
        if not isinstance(rows, pd.DataFrame):
            rows = pd.DataFrame(list(rows))
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            rows.to_csv(path, index=False)
        else:
            texts = {str(c): rows[c].map(str, na_action="ignore") for c in rows if rows[c].dtype == object}
            rows.assign(**texts).to_parquet(path)

    def set(self, **settings: Any) -> None:
        """Change settings of the loads to come."""
        self.settings = Settings.model_validate({**self.settings.model_dump(exclude_unset=True), **settings})

    def job(self) -> dg.JobDefinition:
        """The daily job with the present settings."""
        key = repr(self.settings)
        if key not in self._definitions:
            self._definitions[key] = build_definitions(self.settings).resolve_job_def(DAILY_JOB)
        return self._definitions[key]

    def load(
        self,
        first: Day = "2026-01-01",
        last: Day | None = None,
        *,
        assets: Sequence[str] | None = None,
        fails: bool = False,
    ) -> dg.ExecuteInProcessResult:
        """Materialise raw and feature assets, or some of them, for a range of days in one run.

        Args:
            first: First day.
            last: Last day, by default the first one.
            assets: `schema/name` of the assets; all raw and feature assets by default.
            fails: Whether the run is expected to fail.
        """
        job = self.job()
        every = [key.to_user_string() for key in job.asset_layer.executable_asset_keys if key.path[0] in _SOURCE_GROUPS]
        result = job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey.from_user_string(name) for name in assets or every],
            tags={
                "dagster/asset_partition_range_start": str(first),
                "dagster/asset_partition_range_end": str(last or first),
            },
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
        assert result.success is not fails, self.failure(result)
        return result

    def failure(self, result: dg.ExecuteInProcessResult) -> str:
        """Messages of a failed run's first failed step, the outermost first; empty for a run that succeeded."""
        for event in result.all_events:
            if event.is_step_failure:
                failed, messages = event.step_failure_data, []
                if failed.user_failure_data and failed.user_failure_data.description:
                    messages.append(failed.user_failure_data.description)
                error = failed.error
                while error is not None:
                    messages.append(error.message)
                    error = error.cause
                return "\n".join(messages)
        return ""

    @staticmethod
    def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
        """Checks of a run by `asset:check`."""
        return {f"{c.asset_key.path[-1]}:{c.check_name}": c for c in result.get_asset_check_evaluations()}

    @staticmethod
    def check(result: dg.ExecuteInProcessResult, name: str) -> dict[str, Any]:
        """One check of a run, named `asset:check`: `passed`, `severity` and its metadata."""
        found = Pipeline.checks(result)[name]
        told = {key: value.value for key, value in found.metadata.items()}
        return {**told, "passed": found.passed, "severity": found.severity.value}

    @staticmethod
    def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
        """Metadata of an asset's last materialisation in a run."""
        key = dg.AssetKey.from_user_string(asset)
        events = [event.materialization for event in result.get_asset_materialization_events()]
        last = [event for event in events if event.asset_key == key][-1]
        return {name: value.value for name, value in last.metadata.items()}

    def query(self, sql: str, **parameters: Any) -> pd.DataFrame:
        """Rows of a GoogleSQL query."""
        with DuckDBWarehouse(self.settings.warehouse_path).open() as session:
            return session.query(Statement(sql, parameters))

    def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a GoogleSQL query as tuples; days as text."""
        with DuckDBWarehouse(self.settings.warehouse_path).open() as session:
            fetched = session.execute(Statement(sql, parameters)).fetchall()
        return [
            tuple(str(v) if isinstance(v, date) and not isinstance(v, datetime) else v for v in row) for row in fetched
        ]

    def table(self, contract: TableContract) -> list[tuple[Any, ...]]:
        """All rows of a table in the order of its key."""
        everything = compose(
            "SELECT * FROM {name} ORDER BY {key}", name=table(contract.table), key=columns(contract.key)
        )
        return self.rows(everything)

    def rejected(self) -> list[tuple[str, str | None, str, int]]:
        """Rejected rows: source table, day, reason, row."""
        return self.rows(
            "SELECT source_table, partition_date, reason, source_row FROM raw.rejected_rows ORDER BY 1, 2, 4"
        )

    def as_of(self, day: Day, name: str = "concerts_as_of") -> pd.DataFrame:
        """What a forecast as of the end of `day` reads."""
        statement = Statement.from_file(
            f"forecasts/{name}.sql", as_of=date.fromisoformat(str(day)), timezone=self.settings.timezone
        )
        with DuckDBWarehouse(self.settings.warehouse_path).open() as session:
            return session.query(statement)

    def status(self, day: Day, concert_id: str = "c1") -> str | None:
        """Status of a concert as of the end of `day`; None when it is not known yet."""
        known = self.as_of(day).set_index("concert_id")["status"]
        return known.get(concert_id)


PipelineFactory = Callable[..., Pipeline]


@pytest.fixture
def new_pipeline(tmp_path: Path) -> Iterator[PipelineFactory]:
    """Makes pipelines, each with a directory and an instance of its own; keywords are settings."""
    number = count()
    with ExitStack() as instances:

        def build(**settings: Any) -> Pipeline:
            instance = instances.enter_context(dg.DagsterInstance.ephemeral())
            return Pipeline(tmp_path / f"pipeline{next(number)}", instance, **settings)

        yield build


@pytest.fixture
def pipeline(new_pipeline: PipelineFactory) -> Pipeline:
    """A pipeline over 1 to 10 January 2026 in Seoul, with a reload window of two days."""
    return new_pipeline()
