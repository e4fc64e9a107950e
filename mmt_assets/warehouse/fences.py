"""Fences on DuckDB: an older run that wakes up late never overwrites what a newer one wrote."""

from typing import Any

import duckdb

from mmt_assets.contracts import TableContract
from mmt_assets.warehouse.protocol import Fence, Slice, StaleWriteError

_NEWER = """
SELECT run_id, run_created_at FROM operations.write_fences
WHERE table_name = $table AND (slice_group = $group OR slice_group = '' OR $group = '')
  AND slice_low <= $high AND slice_high >= $low AND run_created_at > $created
ORDER BY run_created_at DESC LIMIT 1
"""
_FORGET_COVERED = """
DELETE FROM operations.write_fences
WHERE table_name = $table AND (slice_group = $group OR $group = '') AND slice_low >= $low AND slice_high <= $high
"""
_REMEMBER = """
INSERT INTO operations.write_fences (table_name, slice_group, slice_low, slice_high, run_created_at, run_id)
VALUES ($table, $group, $low, $high, $created, $run)
"""


def check_fence(connection: duckdb.DuckDBPyConnection, contract: TableContract, part: Slice, fence: Fence) -> None:
    """Refuse when a newer run wrote an overlapping slice; else note this run as the last writer of this one.

    A slice without a group overlaps every group, one without days every day. The same run may write again.

    Raises:
        StaleWriteError: A newer run wrote an overlapping slice.
    """
    extent: dict[str, Any] = {
        "table": contract.table,
        "group": part.group[1] if part.group else "",
        "low": part.first.isoformat() if part.first else "",
        "high": part.last.isoformat() if part.last else "\uffff",
    }
    created = {"created": fence.run_created_at}
    newer = next(iter(connection.execute(_NEWER, extent | created).fetchall()), None)
    if newer:
        raise StaleWriteError(
            f"{contract.table} ({part.describe()}) was written by the newer run {newer[0]}, created {newer[1]}; "
            f"this run {fence.run_id}, created {fence.run_created_at}, is refused and wrote nothing. "
            "Start a new run if these rows are wanted."
        )
    connection.execute(_FORGET_COVERED, extent)
    connection.execute(_REMEMBER, extent | created | {"run": fence.run_id})
