"""BigQuery as the warehouse of production: one dataset for each stage, so that access is granted for each.

Rows on their way are in tables of the staging dataset whose names begin with the session's; they are deleted when
the session closes, and expire after a day when it could not.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import grpc
import pandas as pd
import pyarrow as pa
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import bigquery
from google.cloud.bigquery_storage import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from requests.exceptions import RequestException

from mmt_assets.contracts import WRITE_FENCES, TableContract
from mmt_assets.warehouse.bigquery_jobs import GIB, Jobs, label
from mmt_assets.warehouse.bigquery_schema import Datasets, ensure_table, to_bigquery
from mmt_assets.warehouse.bigquery_source import SourceDataset
from mmt_assets.warehouse.bigquery_writes import write_all
from mmt_assets.warehouse.compose import Fragment, compose, table
from mmt_assets.warehouse.dialect import bound_values, source_tables
from mmt_assets.warehouse.duckdb import DuckDBSession, in_memory
from mmt_assets.warehouse.protocol import (
    AttachedTable,
    Fence,
    SourceTable,
    Statement,
    Usage,
    WarehouseError,
    Write,
    WriteResult,
)

_STAGED_TABLE_OPTIONS = "OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 DAY))"


@dataclass(frozen=True)
class BigQueryWarehouse:
    """Datasets of one project.

    Attributes:
        project: Google Cloud project.
        prefix: What the names of the datasets begin with: `<prefix>raw`, `<prefix>features`, ...
        max_scan_gib: Most GiB that one statement may read.
        busy_timeout: Seconds for which a write that met another run's is tried again.
        endpoint: REST address of an emulator; None for BigQuery itself, with default credentials.
        storage_endpoint: `host:port` of the emulator's Storage API, without TLS.
    """

    project: str
    prefix: str = ""
    max_scan_gib: float = 100.0
    busy_timeout: float = 120.0
    endpoint: str | None = None
    storage_endpoint: str | None = None

    def _client(self) -> bigquery.Client:
        if self.endpoint:
            options = ClientOptions(api_endpoint=self.endpoint)
            return bigquery.Client(self.project, credentials=AnonymousCredentials(), client_options=options)
        try:
            return bigquery.Client(self.project)
        except DefaultCredentialsError as error:
            raise WarehouseError(f"no credentials for BigQuery: gcloud auth application-default login ({error})") from (
                error
            )

    @contextmanager
    def _storage(self, client: bigquery.Client) -> Iterator[BigQueryReadClient]:
        if self.storage_endpoint:
            channel = grpc.insecure_channel(self.storage_endpoint, options=[("grpc.max_receive_message_length", -1)])
            storage = BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
        else:
            storage = BigQueryReadClient(credentials=client._credentials)  # noqa: SLF001 - logs in once, not twice
        try:
            yield storage
        finally:
            storage.transport.close()

    def _location(self, client: bigquery.Client) -> str:
        dataset = f"{self.project}.{self.prefix}staging"
        try:
            return str(client.get_dataset(dataset).location)
        except NotFound as error:
            raise WarehouseError(
                f"BigQuery dataset {dataset} does not exist: terraform apply, see infra/ (MMT_PROJECT, "
                "MMT_DATASET_PREFIX)"
            ) from error
        except (GoogleAPICallError, RetryError, RequestException) as error:
            raise WarehouseError(f"BigQuery dataset {dataset} cannot be read: {error}") from error

    @contextmanager
    def open(
        self, *, source: str | None = None, read_only: bool = False, labels: Mapping[str, str] | None = None
    ) -> Iterator["BigQuerySession"]:
        """Open a session; `source` is `bigquery:project.dataset`.

        Raises:
            WarehouseError: The datasets do not exist or cannot be reached.
        """
        with ExitStack() as stack:
            client = self._client()
            stack.callback(client.close)
            jobs = Jobs(
                client,
                self._location(client),
                {name: label(value) for name, value in (labels or {}).items()},
                int(self.max_scan_gib * GIB),
                self.busy_timeout,
            )
            storage, local = stack.enter_context(self._storage(client)), stack.enter_context(in_memory())
            session = BigQuerySession(self, jobs, storage, local, source, read_only=read_only)
            try:
                yield session
            finally:
                session.delete_staged()


class BigQuerySession:
    """A session on BigQuery, see `mmt_assets.warehouse.protocol.Session`.

    Attributes:
        jobs: What runs its statements.
        local: A DuckDB in memory, in which frames take shape.
        datasets: Names of its tables.
    """

    def __init__(
        self,
        warehouse: BigQueryWarehouse,
        jobs: Jobs,
        storage: BigQueryReadClient,
        local: DuckDBSession,
        source: str | None,
        *,
        read_only: bool,
    ) -> None:
        self.jobs = jobs
        self.local = local
        self.datasets = Datasets(warehouse.project, warehouse.prefix, jobs.session)
        self._storage = storage
        self._source = source
        self._read_only = read_only
        self._attached: dict[str, AttachedTable] = {}
        self._ensured: set[str] = set()
        self._staged: set[str] = set()

    @property
    def usage(self) -> Usage:
        """What the session has cost so far."""
        return self.jobs.usage

    @cached_property
    def _source_dataset(self) -> SourceDataset:
        return SourceDataset.parse(self._source)

    def prepare(self, statement: Statement) -> Statement:
        """The statement with this session's table names; the source tables that it reads are attached.

        Raises:
            WarehouseError: The text is not one statement, names no such source table or lacks a value.
        """
        rewritten = to_bigquery(statement.sql, self.datasets)
        for name in source_tables(rewritten.sources):
            self.attach(name)
        return Statement(rewritten.sql, bound_values(statement, rewritten.parameters), statement.name)

    def query_arrow(self, statement: Statement) -> pa.Table:
        """Run a query and return its rows as Arrow, through the Storage API.

        Raises:
            WarehouseError: The query is refused, or would read too much.
        """
        job = self.jobs.run(self.prepare(statement))
        return job.to_arrow(bqstorage_client=self._storage)

    def query(self, statement: Statement) -> pd.DataFrame:
        """Run a query and return its rows, in the types that DuckDB gives a frame's columns.

        Raises:
            WarehouseError: The query is refused, or would read too much.
        """
        return self.local.connection.from_arrow(self.query_arrow(statement)).df()

    def scalar(self, statement: Statement) -> Any:
        """The only value of a query."""
        return self.query_arrow(statement).column(0)[0].as_py()

    def stage(self, name: str, statement: Statement) -> None:
        """Keep a query's rows as `staging.<name>` until the session closes."""
        prepared = self.prepare(statement)
        self.jobs.dry_run(prepared)
        self.create_staged("staging", name, prepared)

    def create_staged(self, schema: str, name: str, checked: Statement) -> None:
        """Make a staging table from the rows of a prepared query whose dry run was made."""
        staged = self.datasets.table(schema, name)
        sql = compose(
            "CREATE OR REPLACE TABLE {staged} {options} AS {query}",
            staged=table(staged),
            options=compose(_STAGED_TABLE_OPTIONS),
            query=Fragment(checked.sql),
        )
        self._staged.add(staged)
        self.jobs.run(Statement(sql, checked.parameters, checked.name), is_checked=True)

    def create_empty(self, name: str, schema: Sequence[bigquery.SchemaField]) -> str:
        """Make `staging.<name>` without rows; returns its full name."""
        staged = self.datasets.table("staging", name)
        made = bigquery.Table(f"{self.datasets.project}.{staged}", schema=schema)
        made.expires = datetime.now(UTC) + timedelta(days=1)
        self._staged.add(staged)
        self.jobs.client.delete_table(made, not_found_ok=True)
        self.jobs.client.create_table(made)
        return f"{self.datasets.project}.{staged}"

    def load_staged(self, name: str, rows: pa.Table, schema: Sequence[bigquery.SchemaField]) -> None:
        """Make `staging.<name>` from rows that are here."""
        self.jobs.load(rows, self.create_empty(name, schema), schema)

    def delete_staged(self) -> None:
        """Delete this session's staging tables; those that cannot be deleted expire by themselves."""
        for staged in sorted(self._staged):
            with suppress(GoogleAPICallError, RetryError, RequestException):
                self.jobs.client.delete_table(f"{self.datasets.project}.{staged}", not_found_ok=True)
        self._staged.clear()

    def attach(self, table: SourceTable) -> AttachedTable:
        """Copy a source table, as text, to a staging table, once.

        Raises:
            SourceError: It is missing, empty or lacks a column.
        """
        if table not in self._attached:
            if self._source is None:
                raise WarehouseError(f"no source was given when the session was opened, needed for {table}")
            found = self._source_dataset.find(self.jobs.client, table)
            copy = found.copy_as_text()
            self.jobs.dry_run(copy)
            self.create_staged("source", table, copy)
            # Before the probe, which reads the copy.
            self._attached[table] = AttachedTable((found.reference,), found.ignored_columns)
            found.require_rows(lambda: self.scalar(found.probe()) is not None)
        return self._attached[table]

    def ensure(self, contract: TableContract) -> None:
        """Create the table, or add the contract's new nullable columns to it.

        Raises:
            SchemaDriftError: The table differs in any other way; it is left as it is.
        """
        if contract.table not in self._ensured:
            ensure_table(self.jobs, contract, self.datasets.reference(contract))
            self._ensured.add(contract.table)

    def write(self, writes: Sequence[Write], *, fence: Fence) -> list[WriteResult]:
        """Carry out all writes in one transaction, see `Session.write`."""
        if self._read_only:
            raise WarehouseError("the session is read-only")
        for contract in (*(write.contract for write in writes), WRITE_FENCES):
            self.ensure(contract)
        return write_all(self, writes, fence)
