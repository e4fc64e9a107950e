"""Dagster's event log in one SQLite file, with connections that are kept.

Dagster's own storage makes an engine and a connection for every single event: each statement is compiled anew, and
the last connection to close makes SQLite write its log back. A backfill records thousands of events.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy import Connection, Engine, create_engine


class PooledSqliteEventLogStorage(ConsolidatedSqliteEventLogStorage):
    """`ConsolidatedSqliteEventLogStorage` with one engine and its pool for the life of the instance."""

    @cached_property
    def _engine(self) -> Engine:
        return create_engine(self._conn_string, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        """A connection in a transaction that ends with the block."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    def dispose(self) -> None:
        """Close the connections."""
        self._engine.dispose()
        super().dispose()
