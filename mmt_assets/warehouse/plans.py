"""What a write does, as GoogleSQL that every engine runs inside its transaction.

Rows are staged first, as `staging.incoming_<position>`, cast to the contract's types and held against it. A plan then
is a list of steps: measures, whose answers become the `WriteResult`, and changes.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mmt_assets.contracts import TableContract
from mmt_assets.warehouse.compose import Fragment, column, columns, compose, join, table
from mmt_assets.warehouse.protocol import (
    InsertMissing,
    ReplaceNewer,
    ReplaceSlice,
    Slice,
    Statement,
    Write,
    WriteResult,
)

# before: stored rows of the slice; after: rows to be stored; same: rows in common; skipped: groups left alone.
Figure = Literal["before", "after", "same", "skipped"]


@dataclass(frozen=True)
class Step:
    """One statement of a plan.

    Attributes:
        statement: GoogleSQL: a change, or a query with one column.
        measures: What the query tells: a count, or for `skipped` one row per group; None for a change.
    """

    statement: Statement
    measures: Figure | None = None


def staged_name(position: int) -> str:
    """Name, in `staging`, of the rows of the write at `position`."""
    return f"incoming_{position}"


def plan(write: Write, position: int) -> list[Step]:
    """Steps of a write whose rows are staged."""
    incoming = table(f"staging.{staged_name(position)}")
    match write:
        case ReplaceSlice(contract=contract, slice=part):
            return _replace(contract, incoming, part.condition(contract))
        case InsertMissing(contract=contract):
            return _insert_missing(contract, incoming)
        case ReplaceNewer():
            return _replace_newer(write, incoming)


def fenced_slice(write: Write) -> Slice | None:
    """Slice that the write is fenced by, if any: the other kinds compare their rows themselves."""
    return (write.fenced or write.slice) if isinstance(write, ReplaceSlice) else None


def result(write: Write, counts: dict[Figure, int], skipped: Iterable[str]) -> WriteResult:
    """What a write did, from what its measures told."""
    before, after, same = (counts.get(figure, 0) for figure in ("before", "after", "same"))
    return WriteResult(write.contract.table, after, after - same, before - same, tuple(sorted(skipped)))


def _count(rows: Fragment) -> Fragment:
    return compose("SELECT COUNT(*) AS figure FROM {rows}", rows=rows)


def _insert(contract: TableContract, rows: Fragment) -> Step:
    sql = compose(
        "INSERT INTO {name} ({names}) SELECT {names} FROM {rows}",
        name=table(contract.table),
        names=columns(contract.column_names),
        rows=rows,
    )
    return Step(Statement(sql))


def _replace(contract: TableContract, incoming: Fragment, inside: Statement) -> list[Step]:
    """Put the staged rows in the place of the rows that `inside` is true for.

    Keys are unique on both sides, so the rows in common say how many are added and removed.
    """
    stored = compose("{name} WHERE {inside}", name=table(contract.table), inside=Fragment(inside.sql))
    names = columns(contract.column_names)
    common = compose(
        "(SELECT {names} FROM {incoming} INTERSECT DISTINCT SELECT {names} FROM {stored}) AS common",
        names=names,
        incoming=incoming,
        stored=stored,
    )
    return [
        Step(Statement(_count(stored), inside.parameters), "before"),
        Step(Statement(_count(incoming)), "after"),
        Step(Statement(_count(common), inside.parameters), "same"),
        Step(Statement(compose("DELETE FROM {stored}", stored=stored), inside.parameters)),
        _insert(contract, incoming),
    ]


def _insert_missing(contract: TableContract, incoming: Fragment) -> list[Step]:
    same = (
        compose("{stored} = {own}", stored=column(key, of="stored"), own=column(key, of="own")) for key in contract.key
    )
    missing = compose(
        "{incoming} AS own WHERE NOT EXISTS (SELECT 1 FROM {name} AS stored WHERE {same})",
        incoming=incoming,
        name=table(contract.table),
        same=join(" AND ", same),
    )
    return [Step(Statement(_count(missing)), "after"), _insert(contract, missing)]


def _is_newer(names: Sequence[str]) -> Fragment:
    """Condition: `stored` is newer than `own`, the first column first."""
    cases = []
    for position, name in enumerate(names):
        equal = [compose("{a} = {b}", a=column(n, of="stored"), b=column(n, of="own")) for n in names[:position]]
        newer = compose("{a} > {b}", a=column(name, of="stored"), b=column(name, of="own"))
        cases.append(compose("({all})", all=join(" AND ", [*equal, newer])))
    return join(" OR ", cases)


def _replace_newer(write: ReplaceNewer, incoming: Fragment) -> list[Step]:
    group = column(write.group_by)
    refused = compose(
        "SELECT DISTINCT {own_group} AS figure FROM {incoming} AS own "
        "JOIN (SELECT DISTINCT {group}, {compared} FROM {name}) AS stored ON {stored_group} = {own_group} "
        "WHERE {newer}",
        own_group=column(write.group_by, of="own"),
        incoming=incoming,
        stored_group=column(write.group_by, of="stored"),
        group=group,
        compared=columns(write.newer_by),
        name=table(write.contract.table),
        newer=_is_newer(write.newer_by),
    )
    withdraw = compose(
        "DELETE FROM {incoming} WHERE {group} IN (SELECT figure FROM ({refused}) AS refused)",
        incoming=incoming,
        group=group,
        refused=refused,
    )
    inside = compose("{group} IN (SELECT {group} FROM {incoming})", group=group, incoming=incoming)
    return [
        Step(Statement(refused), "skipped"),
        Step(Statement(withdraw)),
        *_replace(write.contract, incoming, Statement(inside)),
    ]


def renamed(statement: Statement, suffix: str) -> Statement:
    """A plan's statement with `suffix` behind each parameter, so that several fit into one script."""
    sql = re.sub(r"@(\w+)", rf"@\1{suffix}", statement.sql)
    return replace(statement, sql=sql, parameters={f"{n}{suffix}": v for n, v in statement.parameters.items()})
