"""What the assets and the worker ask of a warehouse, whichever engine it is."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Protocol

import pandas as pd
import pyarrow as pa

from mmt_assets.contracts import TableContract
from mmt_assets.warehouse.compose import column, compose, join

SourceTable = Literal["concerts", "ticket_orders", "makes"]
Value = str | int | float | bool | bytes | date | datetime | Sequence[str] | None


class WarehouseError(Exception):
    """Base of what a warehouse raises; the message says what, where and what to do."""


class WarehouseBusyError(WarehouseError):
    """Another process held the warehouse until the deadline."""


class ContractError(WarehouseError):
    """Rows do not match the table's contract, or lie outside the slice; nothing was written."""


class SchemaDriftError(WarehouseError):
    """The stored table differs from its contract by more than new nullable columns."""


class StaleWriteError(WarehouseError):
    """A newer run has already written this slice; nothing was written."""


@cache
def _read_sql(name: str) -> str:
    return files("mmt_assets.sql").joinpath(name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Statement:
    """GoogleSQL with named parameters (`@name`). Values travel as bound parameters only.

    Attributes:
        sql: One GoogleSQL query. Tables are `schema.name`; `source.name` is the attached source and
            `staging.name` what `Session.stage` made.
        parameters: Value per parameter name.
        name: File that the text is from, for messages.
    """

    sql: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    name: str = ""

    @classmethod
    def from_file(cls, name: str, **parameters: Value) -> "Statement":
        """Read `mmt_assets/sql/<name>` and bind `parameters` to it."""
        return cls(_read_sql(name), parameters, name)


@dataclass(frozen=True)
class Slice:
    """The part of a table that a write replaces; without arguments, the whole table.

    Attributes:
        first: First day of the contract's partition column, inclusive.
        last: Last day, inclusive.
        undated: Whether rows with a null day belong to the slice too. They are not fenced: they belong to no
            day, every run reads them afresh, and runs of different days must not refuse each other.
        group: Column and value that the slice is further cut by, e.g. the source table of rejected rows.
    """

    first: date | None = None
    last: date | None = None
    undated: bool = False
    group: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        """Refuse half-open and empty ranges."""
        if (self.first is None) != (self.last is None):
            raise ValueError("a slice has both a first and a last day, or neither")
        if self.first and self.last and self.first > self.last:
            raise ValueError(f"a slice cannot end ({self.last}) before it begins ({self.first})")

    def describe(self) -> str:
        """The slice in words, for messages."""
        days = f"{self.first} to {self.last}" if self.first else "all days"
        return f"{self.group[1]}, {days}" if self.group else days

    def condition(self, contract: TableContract) -> Statement:
        """GoogleSQL condition that is true inside the slice, with its parameters."""
        clauses, parameters = [compose("TRUE")], dict[str, Value]()
        if self.first is not None:
            if contract.partition_column is None:
                raise ValueError(f"{contract.table} has no partition column to slice by")
            day = column(contract.partition_column)
            dated = compose("{day} BETWEEN @slice_first AND @slice_last", day=day)
            clauses.append(compose("({dated} OR {day} IS NULL)", dated=dated, day=day) if self.undated else dated)
            parameters |= {"slice_first": self.first, "slice_last": self.last}
        if self.group is not None:
            name, value = self.group
            if name not in contract.columns_by_name:
                raise ValueError(f"{contract.table} has no column {name} to slice by")
            clauses.append(compose("{name} = @slice_group", name=column(name)))
            parameters["slice_group"] = value
        return Statement(join(" AND ", clauses), parameters)


@dataclass(frozen=True)
class Fence:
    """Who writes: an older run never overwrites what a newer one wrote.

    Attributes:
        run_id: Dagster run.
        run_created_at: When that run was created (UTC, aware).
    """

    run_id: str
    run_created_at: datetime

    def __post_init__(self) -> None:
        """Refuse a naive time: it could not be compared with another run's."""
        if self.run_created_at.tzinfo is None:
            raise ValueError(f"run_created_at of run {self.run_id} must carry a time zone, got {self.run_created_at}")


@dataclass(frozen=True)
class ReplaceSlice:
    """Delete the slice, insert `rows`; both or neither.

    Attributes:
        contract: Table.
        slice: What is deleted; every row must lie inside.
        rows: New rows, one column per column of the contract in any order. No rows empty the slice.
        fenced: Part of the slice that is fenced, where that is not all of it: days that are only read again beside
            the ones a run was asked for hold what the source holds now, whoever writes them.
    """

    contract: TableContract
    slice: Slice
    rows: pd.DataFrame | Statement
    fenced: Slice | None = None


@dataclass(frozen=True)
class InsertMissing:
    """Append the rows whose key is not in the table yet; existing rows stay as they are.

    Attributes:
        contract: Table.
        rows: Rows, one column per column of the contract in any order.
    """

    contract: TableContract
    rows: pd.DataFrame | Statement


@dataclass(frozen=True)
class ReplaceNewer:
    """Replace whole groups of rows, each only where the new rows are newer than the stored ones.

    Attributes:
        contract: Table.
        rows: New rows.
        group_by: Column that names the group, e.g. `concert_id`.
        newer_by: Columns that are compared, the first one first, e.g. `(as_of_date, run_created_at)`.
    """

    contract: TableContract
    rows: pd.DataFrame
    group_by: str
    newer_by: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse columns that the table does not have."""
        if unknown := {self.group_by, *self.newer_by} - self.contract.columns_by_name.keys():
            raise ValueError(f"{self.contract.table} has no column {', '.join(sorted(unknown))}")
        if not self.newer_by:
            raise ValueError(f"{self.contract.table}: newer_by names no column to compare")


Write = ReplaceSlice | InsertMissing | ReplaceNewer


@dataclass(frozen=True)
class WriteResult:
    """What one write did.

    Attributes:
        table: Table as `schema.name`.
        rows: Rows of the slice (or of the appended rows) after the write.
        added: Rows that were not there before.
        removed: Rows that are no longer there.
        skipped: Groups that `ReplaceNewer` left alone because newer rows were stored.
    """

    table: str
    rows: int
    added: int
    removed: int
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class AttachedTable:
    """What was found for one source table.

    Attributes:
        files: Files or tables that it is read from.
        ignored_columns: Their columns that are not read.
    """

    files: tuple[str, ...]
    ignored_columns: tuple[str, ...]


@dataclass
class Usage:
    """What a session has cost so far, where the engine counts it.

    Attributes:
        statements: Statements run.
        bytes_estimated: Bytes that they were going to read, by the dry run before each.
        bytes_billed: Bytes billed.
        slot_seconds: Seconds of one slot's work.
    """

    statements: int = 0
    bytes_estimated: int = 0
    bytes_billed: int = 0
    slot_seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        """What both cost together."""
        return Usage(
            self.statements + other.statements,
            self.bytes_estimated + other.bytes_estimated,
            self.bytes_billed + other.bytes_billed,
            self.slot_seconds + other.slot_seconds,
        )


class Session(Protocol):
    """An open warehouse."""

    @property
    def usage(self) -> Usage:
        """What the session has cost so far."""
        ...

    def attach(self, table: SourceTable) -> AttachedTable:
        """Copy a source table into the session, once, and tell what was found.

        Raises:
            SourceError: It is missing, empty, unreadable or lacks a column.
        """
        ...

    def ensure(self, contract: TableContract) -> None:
        """Create the table, or add the contract's new nullable columns to it.

        Raises:
            SchemaDriftError: The table differs in any other way; it is left as it is.
        """
        ...

    def scalar(self, statement: Statement) -> Any:
        """The only value of a query."""
        ...

    def query(self, statement: Statement) -> pd.DataFrame:
        """Run a query and return its rows."""
        ...

    def query_arrow(self, statement: Statement) -> pa.Table:
        """Run a query and return its rows as Arrow: for many rows, which as Python strings would fill the memory."""
        ...

    def stage(self, name: str, statement: Statement) -> None:
        """Keep a query's rows as `staging.<name>` until the session closes."""
        ...

    def write(self, writes: Sequence[Write], *, fence: Fence) -> list[WriteResult]:
        """Carry out all writes in one transaction, in order. All rows are read before the first of them is written.

        Tables that are missing are made first, outside the transaction: a refused write may leave an empty one.

        Raises:
            ContractError: Rows break the contract or lie outside their slice.
            StaleWriteError: A newer run wrote one of the slices.
            SchemaDriftError: A stored table does not fit its contract.
        """
        ...


class Warehouse(Protocol):
    """A place for tables. Opening is late and short: DuckDB lets one process in at a time."""

    def open(
        self, *, source: str | None = None, read_only: bool = False, labels: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Session]:
        """Open a session; `source` attaches a source location as `source.<table>`, `labels` tell whose cost it is.

        Raises:
            WarehouseBusyError: Another process held it until the deadline.
        """
        ...
