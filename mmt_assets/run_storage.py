"""Dagster's runs in SQLite, with connections that are kept and wait as long as those of the event log.

Dagster's own storage waits five seconds for another process's write. Sixteen runs at once on a busy machine exceed
that: one of them then fails with "database is locked" before it began.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Self

from dagster._core.storage.runs import SqliteRunStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine

from mmt_assets.event_log import open_engine


class PooledSqliteRunStorage(SqliteRunStorage):
    """`SqliteRunStorage` with one engine and its pool for the life of the instance."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Make it from its block in dagster.yaml."""
        return cls.from_local(inst_data=inst_data, **config_value)

    @cached_property
    def _engine(self) -> Engine:
        return open_engine(self._conn_string)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection in a transaction that ends with the block."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    def dispose(self) -> None:
        """Close the connections."""
        self._engine.dispose()
        super().dispose()
