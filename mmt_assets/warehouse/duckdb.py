"""DuckDB as the warehouse of one machine.

DuckDB lets one process hold the file for writing, and while it does nobody else can open it, even to read. So a
session opens late and closes fast, and opening waits for its turn up to a deadline.
"""

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import psutil
import pyarrow as pa
from tenacity import RetryError, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from mmt_assets.contracts import WRITE_FENCES, TableContract
from mmt_assets.warehouse.checks import check_staged, drift
from mmt_assets.warehouse.compose import compose, table
from mmt_assets.warehouse.dialect import (
    bound_values,
    create_table,
    duckdb_column,
    duckdb_type,
    source_tables,
    to_duckdb,
)
from mmt_assets.warehouse.duckdb_writes import stage_rows, write_staged
from mmt_assets.warehouse.plans import staged_name
from mmt_assets.warehouse.protocol import (
    AttachedTable,
    Fence,
    SchemaDriftError,
    SourceTable,
    Statement,
    Usage,
    WarehouseBusyError,
    WarehouseError,
    Write,
    WriteResult,
)
from mmt_assets.warehouse.source import attach

_HOLDER = re.compile(r"PID (\d+)")
_DIFFERENT_CONFIGURATION = "different configuration"


def _is_held_by_another(error: BaseException) -> bool:
    """Whether opening failed only because somebody else has the file, so that waiting helps."""
    text = str(error)
    held = isinstance(error, duckdb.IOException) and "Could not set lock" in text
    return held or (isinstance(error, duckdb.ConnectionException) and _DIFFERENT_CONFIGURATION in text)


def _holder(error: BaseException | None) -> str:
    """Who holds the file, as well as DuckDB's message and the process table can tell."""
    match = _HOLDER.search(str(error))
    if not match:
        return "another connection of this process" if _DIFFERENT_CONFIGURATION in str(error) else "unknown"
    try:
        command = " ".join(psutil.Process(int(match[1])).cmdline())[:200]
    except psutil.Error:
        command = "unknown command"
    return f"process {match[1]} ({command})"


def _disk_advice(error: BaseException) -> str:
    """What to do when the disk does not take what is to be written; empty for other errors."""
    text = str(error)
    if "Could not write" in text or "No space left" in text:
        return ". Is the disk full? The stored rows are as they were: make room and run again."
    if "Permission denied" in text or "Read-only file system" in text:
        return ". A run writes this file and beside it: make both writable for its user and run again."
    return ""


@dataclass(frozen=True)
class DuckDBWarehouse:
    """A DuckDB file.

    Attributes:
        path: The file; its directory is made when it is missing.
        busy_timeout: Seconds to wait for another process to let go of the file.
    """

    path: Path
    busy_timeout: float = 120.0

    def _connect(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        retrying = Retrying(
            retry=retry_if_exception(_is_held_by_another),
            # Jitter, so that sixteen waiting runs do not come back at the same moment.
            wait=wait_random_exponential(multiplier=0.02, max=0.5),
            stop=stop_after_delay(self.busy_timeout),
        )
        try:
            if not read_only and not self.path.exists():
                self._create()
            return retrying(duckdb.connect, str(self.path), read_only=read_only)
        except RetryError as error:
            raise WarehouseBusyError(
                f"{self.path} was held for {self.busy_timeout:g} s by {_holder(error.last_attempt.exception())}. "
                "Close it there (a DuckDB shell or notebook blocks every run) and run again."
            ) from error
        except (duckdb.Error, OSError) as error:
            advice = "" if read_only else _disk_advice(error)
            raise WarehouseError(f"{self.path} cannot be opened: {error}{advice}") from error

    def _create(self) -> None:
        """Make the empty database beside its name first: DuckDB locks a new file only after it has made it.

        Whoever gets in between, or comes after a kill in between, would find a file that is no database.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}.new")
        try:
            duckdb.connect(str(new)).close()
            # Unlike a rename, a link never replaces the file of a process that was quicker.
            with suppress(FileExistsError):
                os.link(new, self.path)
        finally:
            new.unlink(missing_ok=True)

    @contextmanager
    def open(
        self, *, source: str | None = None, read_only: bool = False, labels: Mapping[str, str] | None = None
    ) -> Iterator["DuckDBSession"]:
        """Open the file; `source` is a directory whose tables are attached when they are first named.

        Nothing here costs money, so `labels` are not kept.

        Raises:
            WarehouseBusyError: Another process held the file until the deadline.
            WarehouseError: The file cannot be opened, or does not exist yet and is to be read only.
        """
        del labels
        if read_only and not self.path.exists():
            raise WarehouseError(f"{self.path} does not exist yet: materialise something first (make demo)")
        connection = self._connect(read_only=read_only)
        try:
            # Transpiled DATE(ts, zone) is right only with UTC. Nothing is ever fetched from the network.
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET autoinstall_known_extensions = false")
            yield DuckDBSession(connection, Path(source) if source else None)
        finally:
            connection.close()


@contextmanager
def in_memory(source: Path | None = None) -> Iterator["DuckDBSession"]:
    """A session without a file: brings frames, or source files, into shape for an engine that is far away."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield DuckDBSession(connection, source)


class DuckDBSession:
    """An open DuckDB file, see `mmt_assets.warehouse.protocol.Session`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, source: Path | None) -> None:
        self.connection = connection
        self._source = source
        self._attached: dict[str, AttachedTable] = {}
        self._ensured: set[str] = set()
        self.usage = Usage()

    def prepare(self, statement: Statement) -> tuple[str, dict[str, Any]]:
        """DuckDB's text of a statement and the values to bind; the source tables that it reads are attached.

        Raises:
            WarehouseError: The text is not one statement, names no such source table or lacks a value.
        """
        transpiled = to_duckdb(statement.sql)
        for name in source_tables(transpiled.sources):
            self.attach(name)
        bound = bound_values(statement, transpiled.parameters)
        return transpiled.sql, {k: list(v) if isinstance(v, tuple) else v for k, v in bound.items()}

    def execute(self, statement: Statement, prefix: str = "") -> duckdb.DuckDBPyConnection:
        """Run a statement; `prefix` is trusted DuckDB text that goes before it.

        Raises:
            WarehouseError: DuckDB refuses it.
        """
        sql, bound = self.prepare(statement)
        try:
            return self.connection.execute(prefix + sql, bound or None)
        except duckdb.Error as error:
            raise WarehouseError(f"{error}{_disk_advice(error)}\n{statement.sql}") from error

    def scalar(self, statement: Statement) -> Any:
        """The only value of a query."""
        return self.execute(statement).fetchall()[0][0]

    def attach(self, table: SourceTable) -> AttachedTable:
        """Copy a source table into the session, once, and tell what was found.

        Raises:
            SourceError: A file is missing, empty, unreadable or lacks a column.
        """
        if table not in self._attached:
            if self._source is None:
                raise WarehouseError(f"no source was given when the session was opened, needed for {table}")
            self._attached[table] = attach(self.connection, self._source, table)
        return self._attached[table]

    def query(self, statement: Statement) -> pd.DataFrame:
        """Run a query and return its rows.

        Raises:
            WarehouseError: The query is refused.
        """
        return self.execute(statement).df()

    def query_arrow(self, statement: Statement) -> pa.Table:
        """Run a query and return its rows as Arrow.

        Raises:
            WarehouseError: The query is refused.
        """
        sql, bound = self.prepare(statement)
        try:
            return self.connection.sql(sql, params=bound or None).to_arrow_table()
        except duckdb.Error as error:
            raise WarehouseError(f"{error}\n{statement.sql}") from error

    def stage(self, name: str, statement: Statement) -> None:
        """Keep a query's rows as `staging.<name>` until the session closes."""
        staged = table(f"staging_{name}")
        self.execute(statement, prefix=compose("CREATE OR REPLACE TEMP TABLE {staged} AS ", staged=staged))

    def ensure(self, contract: TableContract) -> None:
        """Create the table, or add the contract's new nullable columns to it.

        Raises:
            SchemaDriftError: The table differs in any other way; it is left as it is.
        """
        if contract.table in self._ensured:
            return
        name = table(contract.table)
        self.connection.execute(compose("CREATE SCHEMA IF NOT EXISTS {schema}", schema=table(contract.schema)))
        self.connection.execute(create_table(contract))
        described = self.connection.execute(compose("DESCRIBE {name}", name=name)).fetchall()
        stored = {row[0]: row[1].replace(" ", "") for row in described}
        expected = {spec.name: duckdb_type(spec).replace(" ", "") for spec in contract.columns}
        if wrong := drift(contract, stored, expected):
            raise SchemaDriftError(f"{contract.table} differs from its contract: {'; '.join(wrong)}. Migrate it.")
        for column in contract.columns:
            if column.name not in stored:
                definition = compose("{name} {type}", name=duckdb_column(column.name), type=duckdb_type(column))
                add = compose("ALTER TABLE {name} ADD COLUMN {definition}", name=name, definition=definition)
                self.connection.execute(add)
        self._ensured.add(contract.table)

    def write(self, writes: Sequence[Write], *, fence: Fence) -> list[WriteResult]:
        """Carry out all writes in one transaction, see `Session.write`."""
        try:
            for write in writes:
                self.ensure(write.contract)
                if isinstance(write.rows, Statement):
                    # Attach sources now: a rollback would take copies along that were made in the transaction.
                    self.prepare(write.rows)
            self.ensure(WRITE_FENCES)
            self.connection.execute("BEGIN TRANSACTION")
            try:
                for position, write in enumerate(writes):
                    stage_rows(self, write.contract, write.rows, staged_name(position))
                    check_staged(self.query, write, f"staging.{staged_name(position)}")
                results = [write_staged(self, write, position, fence) for position, write in enumerate(writes)]
                self.connection.execute("COMMIT")
                for position in range(len(writes)):
                    staged = table(f"staging_{staged_name(position)}")
                    self.connection.execute(compose("DROP TABLE {staged}", staged=staged))
            except BaseException:
                # An interrupt must not leave the transaction open for whatever uses the session next. DuckDB has
                # rolled back by itself when the commit or a conflict failed; the error in flight says why.
                with suppress(duckdb.Error):
                    self.connection.execute("ROLLBACK")
                raise
        except duckdb.Error as error:
            tables = ", ".join(dict.fromkeys(write.contract.table for write in writes))
            raise WarehouseError(f"{tables}: nothing was written: {error}{_disk_advice(error)}") from error
        return results
