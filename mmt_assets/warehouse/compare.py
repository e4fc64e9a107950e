"""Whether two warehouses, of whichever engines, hold the same rows."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from mmt_assets.contracts import TableContract
from mmt_assets.contracts.forecasts import PROVENANCE_COLUMNS
from mmt_assets.warehouse.compose import Fragment, columns, compose, table
from mmt_assets.warehouse.protocol import Session, Slice, Statement

# Sums of floating-point numbers depend on their order, which no engine promises.
_RELATIVE_TOLERANCE = 1e-9
_MOST_EXAMPLES = 3


@dataclass(frozen=True)
class Comparison:
    """One table of two warehouses.

    Attributes:
        table: Table as `schema.name`.
        rows: Rows on the left, and on the right.
        only_left: Keys that the right lacks.
        only_right: Keys that the left lacks.
        different: Keys whose rows differ, with the columns that do.
    """

    table: str
    rows: tuple[int, int]
    only_left: tuple[tuple[Any, ...], ...]
    only_right: tuple[tuple[Any, ...], ...]
    different: tuple[tuple[tuple[Any, ...], tuple[str, ...]], ...]

    @property
    def is_equal(self) -> bool:
        """Whether both hold the same rows."""
        return not (self.only_left or self.only_right or self.different)

    def describe(self) -> str:
        """What differs, with examples."""
        if self.is_equal:
            return "equal"
        parts = []
        for told, keys in (("only on the left", self.only_left), ("only on the right", self.only_right)):
            if keys:
                parts.append(f"{len(keys)} {told}, e.g. {list(keys[:_MOST_EXAMPLES])}")
        if self.different:
            parts.append(f"{len(self.different)} differ, e.g. {list(self.different[:_MOST_EXAMPLES])}")
        return "; ".join(parts)


def compare_table(left: Session, right: Session, contract: TableContract, part: Slice) -> Comparison:
    """Compare a slice of a table; who made the rows, and when, is left out.

    Args:
        left: Session on one warehouse.
        right: Session on the other.
        contract: Table.
        part: Slice.
    """
    names = [name for name in contract.column_names if name not in PROVENANCE_COLUMNS]
    inside = part.condition(contract)
    sql = compose(
        "SELECT {names} FROM {stored} WHERE {inside}",
        names=columns(names),
        stored=table(contract.table),
        inside=Fragment(inside.sql),
    )
    ours, theirs = (_by_key(session, Statement(sql, inside.parameters), contract) for session in (left, right))
    return Comparison(
        contract.table,
        (len(ours), len(theirs)),
        tuple(sorted(ours.keys() - theirs.keys(), key=str)),
        tuple(sorted(theirs.keys() - ours.keys(), key=str)),
        tuple(
            (key, differing)
            for key in sorted(ours.keys() & theirs.keys(), key=str)
            if (differing := tuple(name for name, value in ours[key].items() if not _same(value, theirs[key][name])))
        ),
    )


def compare_day(left: Session, right: Session, contracts: Iterable[TableContract], day: date) -> list[Comparison]:
    """Compare a day of every table that is cut by days."""
    dated = [contract for contract in contracts if contract.partition_column]
    return [compare_table(left, right, contract, Slice(day, day)) for contract in dated]


def _by_key(session: Session, statement: Statement, contract: TableContract) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows by their key; where who made a row is part of it, by the rest of the key and a number."""
    rows = session.query(statement).astype(object).to_dict("records")
    names, found = [name for name in contract.key if name not in PROVENANCE_COLUMNS], dict[tuple[Any, ...], dict]()
    numbered = len(names) < len(contract.key)
    seen = Counter[tuple[str, ...]]()
    for row in sorted(rows, key=str) if numbered else rows:
        key = tuple(str(row[name]) for name in names)
        seen[key] += 1
        found[(*key, seen[key]) if numbered else key] = {str(name): value for name, value in row.items()}
    return found


def _same(one: Any, other: Any) -> bool:
    if pd.isna(one) or pd.isna(other):
        return bool(pd.isna(one) and pd.isna(other))
    if isinstance(one, float) or isinstance(other, float):
        return abs(one - other) <= _RELATIVE_TOLERANCE * max(abs(one), abs(other))
    return bool(one == other)
