"""BigQuery for tests: the emulator in a process of its own, or a real project with `--run-gcp`."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from pyarrow import parquet

from mmt_assets.warehouse import DuckDBWarehouse, Statement
from mmt_assets.warehouse.bigquery import BigQueryWarehouse
from mmt_assets.warehouse.duckdb import in_memory
from mmt_assets.worker.job import BigQueryAddress
from mmt_assets_tests.servers.dagster_deployment import end_tree
from mmt_assets_tests.servers.required import missing

ROOT = Path(__file__).parents[2]
EMULATOR_PYTHON = ROOT / ".venv-emulators" / "bin" / "python"
STAGES = ("raw", "features", "forecasts", "operations", "staging")
EMULATED_PROJECT = "mmt-emulated"


@dataclass(frozen=True)
class BigQueryServer:
    """Where BigQuery answers.

    Attributes:
        project: Google Cloud project.
        endpoint: REST address; None for the real service.
        storage_endpoint: `host:port` of the Storage API, without TLS; None for the real service.
    """

    project: str
    endpoint: str | None = None
    storage_endpoint: str | None = None

    def client(self) -> bigquery.Client:
        """A client of its own, beside the one under test."""
        if self.endpoint is None:
            return bigquery.Client(project=self.project)
        return bigquery.Client(
            project=self.project,
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=self.endpoint),
        )

    def fail_next(self, kind: str, text: str) -> None:
        """Have the emulator fail the next job whose statement holds `text`, see `Faults` there."""
        request = urllib.request.Request(  # noqa: S310 - the emulator's own address
            f"{self.endpoint}/faults",
            data=json.dumps({"kind": kind, "text": text}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            assert answer.status == 200


@dataclass(frozen=True)
class BigQueryPlace:
    """Datasets of one test.

    Attributes:
        server: Where they are.
        prefix: What their names begin with: `<prefix>raw`, `<prefix>features`, ... and `<prefix>source`.
    """

    server: BigQueryServer
    prefix: str

    @property
    def project(self) -> str:
        """Google Cloud project."""
        return self.server.project

    @property
    def endpoint(self) -> str | None:
        """REST address; None for the real service."""
        return self.server.endpoint

    @property
    def storage_endpoint(self) -> str | None:
        """Address of the Storage API; None for the real service."""
        return self.server.storage_endpoint

    @property
    def source_dataset(self) -> str:
        """An empty dataset for source tables."""
        return f"{self.prefix}source"

    def warehouse(self, **options: Any) -> BigQueryWarehouse:
        """The warehouse on these datasets."""
        given = {"endpoint": self.endpoint, "storage_endpoint": self.storage_endpoint, "busy_timeout": 60.0, **options}
        return BigQueryWarehouse(self.project, self.prefix, **given)

    def address(self) -> BigQueryAddress:
        """What another process needs to open the same warehouse."""
        return BigQueryAddress(
            project=self.project,
            prefix=self.prefix,
            busy_timeout=60,
            endpoint=self.endpoint,
            storage_endpoint=self.storage_endpoint,
        )

    def settings(self) -> dict[str, str]:
        """What points the code location at these datasets, as variables."""
        given = {
            "MMT_PROJECT": self.project,
            "MMT_DATASET_PREFIX": self.prefix,
            "MMT_BIGQUERY_ENDPOINT": self.endpoint,
            "MMT_BIGQUERY_STORAGE_ENDPOINT": self.storage_endpoint,
        }
        return {name: value for name, value in given.items() if value is not None}


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--run-gcp` runs the BigQuery tests on a real project, with default credentials."""
    group = parser.getgroup("Google Cloud")
    group.addoption("--run-gcp", action="store_true", help="use a real project instead of BigQuery's emulator")
    group.addoption("--gcp-project", help="the project; datasets named test_... are made in it and deleted")


def pytest_configure(config: pytest.Config) -> None:
    """A real project has to be named."""
    config.addinivalue_line("markers", "gcp: proves what the emulator cannot; skipped without --run-gcp")
    if config.getoption("--run-gcp") and not config.getoption("--gcp-project"):
        raise pytest.UsageError("--run-gcp needs --gcp-project PROJECT: datasets are made in it and deleted")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs the real service."""
    if not config.getoption("--run-gcp"):
        skip = pytest.mark.skip(reason="needs a Google Cloud project: pytest --run-gcp --gcp-project PROJECT")
        for item in items:
            if item.get_closest_marker("gcp"):
                item.add_marker(skip)


@contextmanager
def running_bigquery() -> Iterator[BigQueryServer]:
    """The emulator in a process of its own."""
    # It ends when this pipe closes, so with this process, whichever way that dies.
    process = subprocess.Popen(
        [EMULATOR_PYTHON, Path(__file__).with_name("bigquery_emulator.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout
        # Its imports print, too.
        line = next((line for line in process.stdout if line.startswith(b"{")), None)
        assert line, f"the emulator ended with {process.wait(30)} before it was ready; its stderr says why"
        ports = json.loads(line)
        yield BigQueryServer(EMULATED_PROJECT, f"http://127.0.0.1:{ports['rest']}", f"127.0.0.1:{ports['grpc']}")
    finally:
        end_tree(process)


@pytest.fixture(scope="session")
def bigquery_server(request: pytest.FixtureRequest) -> Iterator[BigQueryServer]:
    """BigQuery's emulator, or the project of `--gcp-project` with `--run-gcp`."""
    if request.config.getoption("--run-gcp"):
        yield BigQueryServer(str(request.config.getoption("--gcp-project")))
        return
    if not EMULATOR_PYTHON.exists():
        missing(f"BigQuery's emulator ({EMULATOR_PYTHON})", "make .venv-emulators/installed")
    with running_bigquery() as server:
        yield server


@contextmanager
def fresh_place(server: BigQueryServer) -> Iterator[BigQueryPlace]:
    """A fresh set of datasets, deleted afterwards."""
    place = BigQueryPlace(server, f"test_{uuid4().hex[:10]}_")
    client = server.client()
    datasets = [f"{place.project}.{place.prefix}{stage}" for stage in (*STAGES, "source")]
    for dataset in datasets:
        client.create_dataset(dataset)
    try:
        yield place
    finally:
        for dataset in datasets:
            client.delete_dataset(dataset, delete_contents=True, not_found_ok=True)


@pytest.fixture
def bigquery_place(bigquery_server: BigQueryServer) -> Iterator[BigQueryPlace]:
    """A fresh set of datasets, deleted after the test."""
    with fresh_place(bigquery_server) as place:
        yield place


@pytest.fixture(params=["duckdb", "bigquery"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> DuckDBWarehouse | BigQueryWarehouse:
    """A fresh warehouse of each engine: what both must do is tested once, on both."""
    if request.param == "duckdb":
        return DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    place: BigQueryPlace = request.getfixturevalue("bigquery_place")
    return place.warehouse()


def fill_source(place: BigQueryPlace, directory: Path) -> str:
    """Copy a directory of source files into the source dataset, rows with their places; returns it as MMT_SOURCE."""
    client = place.server.client()
    with in_memory(directory) as session:
        for name in ("concerts", "ticket_orders", "makes"):
            rows = session.query_arrow(Statement(f"SELECT * FROM source.{name}"))
            buffer = BytesIO()
            parquet.write_table(rows, buffer)
            buffer.seek(0)
            fields = [
                bigquery.SchemaField(column, "INTEGER" if column == "source_row" else "STRING")
                for column in rows.column_names
            ]
            config = bigquery.LoadJobConfig(source_format=bigquery.SourceFormat.PARQUET, schema=fields)
            client.load_table_from_file(
                buffer, f"{place.project}.{place.source_dataset}.{name}", job_config=config
            ).result()
    return f"bigquery:{place.project}.{place.source_dataset}"
