"""Dagster's event log in one SQLite file, with connections that are kept and one transaction for each event.

Dagster's own storage makes an engine and a connection for every single event: each statement is compiled anew, and
the last connection to close makes SQLite write its log back. An event of an asset is three transactions and a look at
the schema, and each transaction waits for the disk. A backfill records thousands of events.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

from dagster import EventLogEntry
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy import Connection, Engine, create_engine, event, inspect


def open_engine(connection_string: str) -> Engine:
    """An engine with kept connections that wait for their turn for as long as Dagster lets its event log wait."""
    engine = create_engine(connection_string, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})

    # With a write-ahead log a killed process loses nothing this way; only a power cut may cost the last events.
    @event.listens_for(engine, "connect")
    def wait_for_the_disk_at_checkpoints_only(connection: object, _: object) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")  # type: ignore[attr-defined] - sqlite3's own connection

    return engine


class PooledSqliteEventLogStorage(ConsolidatedSqliteEventLogStorage):
    """`ConsolidatedSqliteEventLogStorage` with one engine and its pool for the life of the instance."""

    @cached_property
    def _engine(self) -> Engine:
        return open_engine(self._conn_string)

    @cached_property
    def _open_transaction(self) -> threading.local:
        """This thread's connection while it stores events, so that all their rows come in one transaction."""
        return threading.local()

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        """A connection in a transaction that ends with the block, or with the outermost one."""
        if kept := getattr(self._open_transaction, "connection", None):
            yield kept
            return
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._connect() as connection:
            self._open_transaction.connection = connection
            try:
                yield
            finally:
                self._open_transaction.connection = None

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event with everything that belongs to it; all or nothing."""
        if getattr(self._open_transaction, "connection", None):
            super().store_event(event)
            return
        with self._transaction():
            super().store_event(event)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store several events; all or none."""
        with self._transaction():
            super().store_event_batch(events)

    def has_table(self, table_name: str) -> bool:
        """Whether the table exists; one that was found is not looked for again."""
        found = self._known_tables
        if table_name not in found:
            found.update(inspect(self._engine).get_table_names())
        return table_name in found

    @cached_property
    def _known_tables(self) -> set[str]:
        return set()

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        if column_name not in self._known_columns and super()._has_asset_key_col_on_connection(conn, column_name):
            self._known_columns.add(column_name)
        return column_name in self._known_columns

    @cached_property
    def _known_columns(self) -> set[str]:
        return set()

    def dispose(self) -> None:
        """Close the connections."""
        self._engine.dispose()
        super().dispose()
