"""Rows on their way into DuckDB: cast to their contract's types, then written by the steps of their plan.

DuckDB's own primary keys are no help here: deleting and inserting one key in one transaction fails.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd

from mmt_assets.contracts import TableContract
from mmt_assets.warehouse.checks import check_columns
from mmt_assets.warehouse.compose import Fragment, compose, join, table
from mmt_assets.warehouse.dialect import cast_exactly
from mmt_assets.warehouse.fences import FenceCheck
from mmt_assets.warehouse.plans import Figure, Step, fenced_slice, plan, result
from mmt_assets.warehouse.protocol import ContractError, Fence, Statement, WarehouseError, Write, WriteResult

if TYPE_CHECKING:
    from mmt_assets.warehouse.duckdb import DuckDBSession

# How DuckDB says that a value does not fit, `error()` of `cast_exactly` included.
_BAD_VALUE = (duckdb.DataError, duckdb.InvalidInputException, duckdb.NotSupportedError)


def stage_rows(session: "DuckDBSession", contract: TableContract, rows: pd.DataFrame | Statement, name: str) -> None:
    """Bring rows, cast to the contract's types, into `staging.<name>`.

    Raises:
        ContractError: A column is missing or unknown, or a value does not fit its type.
        WarehouseError: The rows cannot be read.
    """
    if isinstance(rows, pd.DataFrame):
        check_columns(contract, [str(column) for column in rows.columns])
    frame = None if isinstance(rows, Statement) else rows
    try:
        if isinstance(rows, Statement):
            sql, bound = session.prepare(rows)
            query = Fragment(sql)
        else:
            session.connection.register("incoming_frame", rows)
            query, bound = compose("SELECT * FROM incoming_frame"), {}
        described = session.connection.execute(compose("DESCRIBE {query}", query=query), bound or None).fetchall()
        check_columns(contract, [row[0] for row in described])
        # A frame without rows has whatever types pandas made up; there is nothing that they could lose.
        is_empty = frame is not None and frame.empty
        types = {row[0]: "NULL" if is_empty else row[1] for row in described}
        casts = join(", ", (cast_exactly(spec, types[spec.name]) for spec in contract.columns))
        stage = compose(
            "CREATE OR REPLACE TEMP TABLE {staged} AS SELECT {casts} FROM ({query})",
            staged=table(f"staging_{name}"),
            casts=casts,
            query=query,
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


def write_staged(session: "DuckDBSession", write: Write, position: int, fence: Fence) -> WriteResult:
    """Carry out one write, whose rows are staged and checked, inside an open transaction.

    Raises:
        StaleWriteError: A newer run wrote the slice.
    """
    if part := fenced_slice(write):
        check = FenceCheck(write.contract, part, fence)
        check.refuse(session.query(check.newer))
        for statement in check.remember:
            session.execute(statement)
    counts, skipped = dict[Figure, int](), list[str]()
    for step in plan(write, position):
        told = _run(session, step)
        if step.measures == "skipped":
            skipped += [str(row[0]) for row in told]
        elif step.measures:
            counts[step.measures] = int(told[0][0])
    return result(write, counts, skipped)


def _run(session: "DuckDBSession", step: Step) -> list[tuple[Any, ...]]:
    return session.execute(step.statement).fetchall()
