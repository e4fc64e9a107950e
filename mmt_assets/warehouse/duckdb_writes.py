"""The three kinds of write on DuckDB, each run inside the session's transaction.

Rows are first cast into the temporary table `incoming` and held against their contract; only then is the table
touched. DuckDB's own primary keys are no help here: deleting and inserting one key in one transaction fails.
"""

from contextlib import suppress
from typing import TYPE_CHECKING

import duckdb
import pandas as pd

from mmt_assets.contracts import TableContract
from mmt_assets.warehouse.checks import count_violations, duplicate_keys, examples, violations
from mmt_assets.warehouse.compose import Fragment, column, columns, compose, join, table
from mmt_assets.warehouse.dialect import cast_exactly
from mmt_assets.warehouse.fences import check_fence
from mmt_assets.warehouse.protocol import (
    ContractError,
    Fence,
    InsertMissing,
    ReplaceNewer,
    ReplaceSlice,
    Statement,
    Value,
    WarehouseError,
    Write,
    WriteResult,
)

if TYPE_CHECKING:
    from mmt_assets.warehouse.duckdb import DuckDBSession

_INCOMING = "incoming"
# How DuckDB says that a value does not fit, `error()` of `cast_exactly` included.
_BAD_VALUE = (duckdb.DataError, duckdb.InvalidInputException, duckdb.NotSupportedError)


def write_one(session: "DuckDBSession", write: Write, fence: Fence) -> WriteResult:
    """Carry out one write inside an open transaction.

    Raises:
        ContractError: Rows break the contract or lie outside their slice.
        StaleWriteError: A newer run wrote the slice.
    """
    _stage_rows(session, write.contract, write.rows)
    _check_contract(session, write.contract)
    match write:
        case ReplaceSlice():
            return _replace_slice(session, write, fence)
        case InsertMissing():
            return _insert_missing(session, write)
        case ReplaceNewer():
            return _replace_newer(session, write)


def _check_columns(contract: TableContract, found: list[str]) -> None:
    missing = [name for name in contract.column_names if name not in found]
    unknown = [name for name in dict.fromkeys(found) if name not in contract.columns_by_name]
    repeated = sorted({name for name in found if found.count(name) > 1})
    if missing or unknown or repeated:
        wrong = {"lack": missing, "have unknown": unknown, "repeat": repeated}
        told = "; ".join(f"{what} {', '.join(names)}" for what, names in wrong.items() if names)
        raise ContractError(
            f"{contract.table}: wrong columns: the rows {told}; expected {', '.join(contract.column_names)}; "
            "nothing was written"
        )


def _stage_rows(session: "DuckDBSession", contract: TableContract, rows: pd.DataFrame | Statement) -> None:
    """Bring the rows, cast to the contract's types, into the temporary table `incoming`."""
    if isinstance(rows, pd.DataFrame):
        _check_columns(contract, [str(name) for name in rows.columns])
    frame = None if isinstance(rows, Statement) else rows
    try:
        if isinstance(rows, Statement):
            sql, bound = session.prepare(rows)
            query = Fragment(sql)
        else:
            session.connection.register("incoming_frame", rows)
            query, bound = compose("SELECT * FROM incoming_frame"), {}
        described = session.connection.execute(compose("DESCRIBE {query}", query=query), bound or None).fetchall()
        _check_columns(contract, [row[0] for row in described])
        # A frame without rows has whatever types pandas made up; there is nothing that they could lose.
        is_empty = frame is not None and frame.empty
        types = {row[0]: "NULL" if is_empty else row[1] for row in described}
        casts = join(", ", (cast_exactly(spec, types[spec.name]) for spec in contract.columns))
        stage = compose(
            "CREATE OR REPLACE TEMP TABLE incoming AS SELECT {casts} FROM ({query})", casts=casts, query=query
        )
        session.connection.execute(stage, bound or None)
    except _BAD_VALUE as error:
        raise ContractError(f"{contract.table}: a value does not fit: {error}; nothing was written") from error
    except duckdb.Error as error:
        text = f"\n{rows.sql}" if isinstance(rows, Statement) else ""
        raise WarehouseError(f"{contract.table}: rows cannot be read: {error}; nothing was written{text}") from error
    finally:
        if frame is not None:
            # After an error the transaction is aborted, and its rollback takes the registration along.
            with suppress(duckdb.TransactionException):
                session.connection.unregister("incoming_frame")


def _check_contract(session: "DuckDBSession", contract: TableContract) -> None:
    counts = session.execute(count_violations(contract, _INCOMING)).fetchall()[0]
    for violation, count in zip(violations(contract), counts, strict=False):
        if count:
            rows = session.query(examples(contract, _INCOMING, violation)).to_dict("records")
            raise ContractError(
                f"{contract.table}: {count} rows break the contract: {violation.column} must be "
                f"{violation.expected}, e.g. {rows}; nothing was written"
            )
    repeated = session.query(duplicate_keys(contract, _INCOMING)).to_dict("records")
    if repeated:
        raise ContractError(
            f"{contract.table}: key ({', '.join(contract.key)}) is not unique, e.g. {repeated}; nothing was written"
        )


def _count(session: "DuckDBSession", rows: Fragment, parameters: dict[str, Value]) -> int:
    return int(session.scalar(Statement(compose("SELECT COUNT(*) FROM {rows}", rows=rows), parameters)))


def _replace(session: "DuckDBSession", contract: TableContract, inside: Statement) -> WriteResult:
    """Put `incoming` in the place of the rows that `inside` is true for, and tell what changed."""
    name, incoming, parameters = table(contract.table), table(_INCOMING), dict(inside.parameters)
    stored = compose("{name} WHERE {inside}", name=name, inside=Fragment(inside.sql))
    before, after = _count(session, stored, parameters), _count(session, incoming, {})
    # Keys are unique on both sides, so the rows in common say how many were added and removed.
    common = compose(
        "(SELECT {names} FROM incoming INTERSECT DISTINCT SELECT {names} FROM {stored})",
        names=columns(contract.column_names),
        stored=stored,
    )
    same = _count(session, common, parameters) if before and after else 0
    if before:
        session.execute(Statement(compose("DELETE FROM {stored}", stored=stored), parameters))
    _insert(session, contract, incoming)
    return WriteResult(contract.table, after, after - same, before - same)


def _insert(session: "DuckDBSession", contract: TableContract, rows: Fragment) -> None:
    sql = compose(
        "INSERT INTO {name} ({names}) SELECT {names} FROM {rows}",
        name=table(contract.table),
        names=columns(contract.column_names),
        rows=rows,
    )
    session.execute(Statement(sql))


def _replace_slice(session: "DuckDBSession", write: ReplaceSlice, fence: Fence) -> WriteResult:
    contract, inside = write.contract, write.slice.condition(write.contract)
    outside = compose("incoming WHERE ({inside}) IS NOT TRUE", inside=Fragment(inside.sql))
    if count := _count(session, outside, dict(inside.parameters)):
        raise ContractError(
            f"{contract.table}: {count} rows lie outside the slice ({write.slice.describe()}); nothing was written"
        )
    check_fence(session.connection, contract, write.fenced or write.slice, fence)
    return _replace(session, contract, inside)


def _insert_missing(session: "DuckDBSession", write: InsertMissing) -> WriteResult:
    contract = write.contract
    same = (
        compose("{stored} = {own}", stored=column(key, of="stored"), own=column(key, of="incoming"))
        for key in contract.key
    )
    missing = compose(
        "incoming WHERE NOT EXISTS (SELECT 1 FROM {name} AS stored WHERE {same})",
        name=table(contract.table),
        same=join(" AND ", same),
    )
    count = _count(session, missing, {})
    if count:
        _insert(session, contract, missing)
    return WriteResult(contract.table, count, count, 0)


def _replace_newer(session: "DuckDBSession", write: ReplaceNewer) -> WriteResult:
    name, group = table(write.contract.table), column(write.group_by)
    refused = compose(
        "CREATE OR REPLACE TEMP TABLE refused AS SELECT DISTINCT {own_group} AS {group} FROM incoming "
        "JOIN (SELECT DISTINCT {group}, {compared} FROM {name}) AS stored ON {stored_group} = {own_group} "
        "WHERE ({stored}) > ({own})",
        own_group=column(write.group_by, of="incoming"),
        stored_group=column(write.group_by, of="stored"),
        group=group,
        compared=columns(write.newer_by),
        name=name,
        stored=columns(write.newer_by, of="stored"),
        own=columns(write.newer_by, of="incoming"),
    )
    session.execute(Statement(refused))
    skipped = session.execute(Statement(compose("SELECT {group} FROM refused ORDER BY 1", group=group))).fetchall()
    among = compose("{group} IN (SELECT {group} FROM refused)", group=group)
    session.execute(Statement(compose("DELETE FROM incoming WHERE {among}", among=among)))
    result = _replace(
        session, write.contract, Statement(compose("{group} IN (SELECT {group} FROM incoming)", group=group))
    )
    return WriteResult(result.table, result.rows, result.added, result.removed, tuple(str(row[0]) for row in skipped))
