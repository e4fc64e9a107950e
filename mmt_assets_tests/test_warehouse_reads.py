"""What statements read: of a table with partitions no more than they need."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from sqlglot import exp

import mmt_assets
from mmt_assets import contracts
from mmt_assets.contracts import CONCERT_SALES, TICKET_ORDERS, TableContract
from mmt_assets.warehouse import Slice
from mmt_assets.warehouse.checks import duplicate_keys
from mmt_assets.warehouse.dialect import parse_statement

SQL = Path(mmt_assets.__file__).parent / "sql"
PARTITIONED = {
    contract.table: contract.partition_column
    for contract in vars(contracts).values()
    if isinstance(contract, TableContract) and contract.partition_column
}
# What is read from its first day to its last, and why.
WHOLE = {
    "forecasts/forecasts_with_outcome.sql": "the scoreboard is over every forecast that was ever made",
}


def unbounded(sql: str) -> Iterator[str]:
    """Tables with partitions that a statement reads without a bound from a parameter on their partition column."""
    for table in parse_statement(sql).find_all(exp.Table):
        name = f"{table.db}.{table.name}"
        select = table.find_ancestor(exp.Select)
        if name not in PARTITIONED or select is None:
            continue
        joins = select.args.get("joins") or []
        conditions = [select.args.get("where"), *(join.args.get("on") for join in joins)]
        days = (
            day
            for condition in conditions
            if condition
            for day in condition.find_all(exp.Column)
            if day.name == PARTITIONED[name] and day.table == (table.alias if joins else day.table)
        )
        if not any((compared := day.find_ancestor(exp.Predicate)) and compared.find(exp.Parameter) for day in days):
            yield name


@pytest.mark.parametrize("path", sorted(SQL.rglob("*.sql")), ids=lambda path: path.relative_to(SQL).as_posix())
def test_a_table_with_partitions_is_read_between_days(path: Path) -> None:
    is_whole = path.relative_to(SQL).as_posix() in WHOLE
    assert bool(list(unbounded(path.read_text()))) == is_whole


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM raw.ticket_orders",
        "SELECT * FROM raw.ticket_orders WHERE order_date = CURRENT_DATE()",
        "SELECT * FROM raw.concerts AS c JOIN raw.ticket_orders AS o ON o.order_id = c.id WHERE c.order_date = @day",
    ],
)
def test_the_test_sees_what_has_no_bound(sql: str) -> None:
    assert list(unbounded(sql)) == ["raw.ticket_orders"]


def test_a_key_with_its_day_in_it_is_checked_in_the_slice_and_one_without_in_the_whole_table() -> None:
    part = Slice(first=date(2026, 1, 5), last=date(2026, 1, 6))
    assert not list(unbounded(duplicate_keys(CONCERT_SALES, CONCERT_SALES.table, part).sql))
    assert list(unbounded(duplicate_keys(TICKET_ORDERS, TICKET_ORDERS.table, part).sql)) == [TICKET_ORDERS.table]
