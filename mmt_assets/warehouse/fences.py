"""Fences: an older run that wakes up late never overwrites what a newer one wrote.

`operations.write_fences` holds which run last wrote each slice. It is read and changed inside the write's own
transaction. A slice without a group overlaps every group, one without days every day. The same run may write again.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd

from mmt_assets.contracts import TableContract
from mmt_assets.warehouse.protocol import Fence, Slice, StaleWriteError, Statement, Value

_NEWER = """
SELECT run_id, run_created_at FROM operations.write_fences
WHERE table_name = @fence_table
  AND (slice_group = @fence_group OR slice_group = '' OR @fence_group = '')
  AND slice_low <= @fence_high AND slice_high >= @fence_low AND run_created_at > @fence_created
ORDER BY run_created_at DESC LIMIT 1
"""
_FORGET_COVERED = """
DELETE FROM operations.write_fences
WHERE table_name = @fence_table AND (slice_group = @fence_group OR @fence_group = '')
  AND slice_low >= @fence_low AND slice_high <= @fence_high
"""
_REMEMBER = """
INSERT INTO operations.write_fences (table_name, slice_group, slice_low, slice_high, run_created_at, run_id)
SELECT @fence_table, @fence_group, @fence_low, @fence_high, @fence_created, @fence_run
"""


@dataclass(frozen=True)
class FenceCheck:
    """The fence of one slice, as statements.

    Attributes:
        contract: Table.
        part: Slice.
        fence: Who writes.
    """

    contract: TableContract
    part: Slice
    fence: Fence

    def _bound(self, sql: str) -> Statement:
        part = self.part
        values: dict[str, Value] = {
            "fence_table": self.contract.table,
            "fence_group": part.group[1] if part.group else "",
            "fence_low": part.first.isoformat() if part.first else "",
            "fence_high": part.last.isoformat() if part.last else "\uffff",
            "fence_created": self.fence.run_created_at,
            "fence_run": self.fence.run_id,
        }
        return Statement(sql, {name: value for name, value in values.items() if f"@{name}" in sql})

    @property
    def newer(self) -> Statement:
        """Query: the newest run after this one that wrote an overlapping slice, if any."""
        return self._bound(_NEWER)

    @property
    def remember(self) -> tuple[Statement, ...]:
        """Note this run as the last writer of this slice."""
        return self._bound(_FORGET_COVERED), self._bound(_REMEMBER)

    def refuse(self, newer: pd.DataFrame) -> None:
        """Refuse the write when there is a newer run.

        Raises:
            StaleWriteError: There is.
        """
        if newer.empty:
            return
        run, created = newer.iloc[0]["run_id"], newer.iloc[0]["run_created_at"]
        advice = "Start a new run if these rows are wanted."
        if created > datetime.now(UTC):
            advice = "That time is still to come by this machine's clock: put it right, or run again after that time."
        raise StaleWriteError(
            f"{self.contract.table} ({self.part.describe()}) was written by the newer run {run}, created {created}; "
            f"this run {self.fence.run_id}, created {self.fence.run_created_at}, is refused and wrote nothing. "
            f"{advice}"
        )
