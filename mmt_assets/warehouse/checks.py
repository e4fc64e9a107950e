"""GoogleSQL that holds staged rows against a contract, for every engine alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mmt_assets.contracts import Column, TableContract
from mmt_assets.warehouse.compose import Fragment, column, columns, compose, join, parameter, table
from mmt_assets.warehouse.protocol import ContractError, ReplaceSlice, Slice, Statement, Value, Write


@dataclass(frozen=True)
class Violation:
    """A condition that must be true of no staged row, and what to say when it is.

    Attributes:
        column: Column at fault.
        expected: What it must be, in words.
        condition: GoogleSQL condition that is true for a bad row.
        parameters: Its parameters; no two violations of one write share a name.
    """

    column: str
    expected: str
    condition: Fragment
    parameters: Mapping[str, Value]


def _column_violations(spec: Column) -> list[Violation]:
    name, found = column(spec.name), list[Violation]()
    if spec.required:
        found.append(Violation(spec.name, "given (not null)", compose("{name} IS NULL", name=name), {}))
    if spec.allowed:
        bound: dict[str, Value] = {f"allowed_{spec.name}_{i}": value for i, value in enumerate(spec.allowed)}
        values = join(", ", map(parameter, bound))
        condition = compose("{name} NOT IN ({values})", name=name, values=values)
        found.append(Violation(spec.name, f"one of {', '.join(spec.allowed)}", condition, bound))
    if spec.minimum is not None:
        key = f"minimum_{spec.name}"
        condition = compose("{name} < {minimum}", name=name, minimum=parameter(key))
        found.append(Violation(spec.name, f"at least {spec.minimum:g}", condition, {key: spec.minimum}))
    if spec.type == "FLOAT64":
        condition = compose("IS_NAN({name}) OR IS_INF({name})", name=name)
        found.append(Violation(spec.name, "a finite number", condition, {}))
    return found


def violations(write: Write) -> list[Violation]:
    """Everything a single staged row can do wrong: break the contract, or lie outside the slice that is replaced."""
    found = [violation for spec in write.contract.columns for violation in _column_violations(spec)]
    if isinstance(write, ReplaceSlice) and (write.slice.first or write.slice.group):
        inside = write.slice.condition(write.contract)
        outside = compose("({inside}) IS NOT TRUE", inside=Fragment(inside.sql))
        place = write.contract.partition_column if write.slice.first else write.slice.group and write.slice.group[0]
        expected = f"inside the slice that is replaced ({write.slice.describe()})"
        found.append(Violation(str(place), expected, outside, inside.parameters))
    return found


def count_violations(found: Sequence[Violation], staged: str) -> Statement:
    """Query of one row: how many rows of `staged` commit each of the violations, in order."""
    if not found:
        return Statement("SELECT 0 AS violations")
    counts = join(
        ", ",
        (
            compose("COUNTIF({condition}) AS {name}", condition=v.condition, name=column(f"violation_{i}"))
            for i, v in enumerate(found)
        ),
    )
    parameters = {name: value for violation in found for name, value in violation.parameters.items()}
    return Statement(compose("SELECT {counts} FROM {staged}", counts=counts, staged=table(staged)), parameters)


def examples(contract: TableContract, staged: str, violation: Violation) -> Statement:
    """Query: keys, with the column at fault, of up to three rows of `staged` that commit `violation`."""
    shown = dict.fromkeys((*contract.key, violation.column))
    sql = compose(
        "SELECT {shown} FROM {staged} WHERE {condition} LIMIT 3",
        shown=columns(shown),
        staged=table(staged),
        condition=violation.condition,
    )
    return Statement(sql, violation.parameters)


def stored_violations(contract: TableContract, part: Slice) -> Statement:
    """Query of one row: how many stored rows of a slice have a null where none may be, and break each rule.

    Its columns are `no_nulls` and the names of the contract's rules.
    """
    nulls = join(" OR ", (compose("{name} IS NULL", name=column(c.name)) for c in contract.columns if c.required))
    # Rules are literals of the contracts.
    conditions = {"no_nulls": nulls, **{rule.name: Fragment(rule.violated_when) for rule in contract.rules}}
    counts = (
        compose("COUNTIF({condition}) AS {name}", condition=condition, name=column(name))
        for name, condition in conditions.items()
        if condition
    )
    inside = part.condition(contract)
    sql = compose(
        "SELECT {counts} FROM {stored} WHERE {inside}",
        counts=join(", ", counts),
        stored=table(contract.table),
        inside=Fragment(inside.sql),
    )
    return Statement(sql, inside.parameters)


def duplicate_keys(contract: TableContract, rows: str, part: Slice | None = None) -> Statement:
    """Query: keys of the table `rows` that occur more than once, with how often, up to five.

    Args:
        contract: Contract that the rows have.
        rows: Table that holds them.
        part: Slice that was written. Where the day is part of the key, only the slice is read: no other row can have
            one of its keys.
    """
    inside = Statement("TRUE")
    if part is not None and contract.partition_column in contract.key:
        inside = part.condition(contract)
    sql = compose(
        "SELECT {key}, COUNT(*) AS occurrences FROM {rows} WHERE {inside} GROUP BY {key} HAVING COUNT(*) > 1 LIMIT 5",
        key=columns(contract.key),
        rows=table(rows),
        inside=Fragment(inside.sql),
    )
    return Statement(sql, inside.parameters)


def check_columns(contract: TableContract, found: Sequence[str]) -> None:
    """Refuse rows that have not exactly the contract's columns.

    Raises:
        ContractError: They have not; it says which are wrong.
    """
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


def check_staged(query: Callable[[Statement], pd.DataFrame], write: Write, staged: str) -> None:
    """Hold the staged rows of a write against their contract and their slice.

    Args:
        query: Runs a query.
        write: What will be written.
        staged: Table that the rows are staged in.

    Raises:
        ContractError: Rows break the contract or lie outside the slice.
    """
    contract, found = write.contract, violations(write)
    counts = query(count_violations(found, staged)).fillna(0).iloc[0]
    for violation, count in zip(found, counts, strict=False):
        if count:
            rows = query(examples(contract, staged, violation)).to_dict("records")
            raise ContractError(
                f"{contract.table}: {int(count)} rows break the contract: {violation.column} must be "
                f"{violation.expected}, e.g. {rows}; nothing was written"
            )
    if repeated := query(duplicate_keys(contract, staged)).to_dict("records"):
        raise ContractError(
            f"{contract.table}: key ({', '.join(contract.key)}) is not unique, e.g. {repeated}; nothing was written"
        )


def drift(contract: TableContract, stored: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """What makes a stored table unfit for its contract; new nullable columns do not, they can be added.

    Args:
        contract: Contract.
        stored: Type of each stored column, as the engine calls it.
        expected: Type of each of the contract's columns, as the engine calls it.
    """
    found = [f"column {name} is not in the contract" for name in stored if name not in contract.columns_by_name]
    for spec in contract.columns:
        if spec.name not in stored and spec.required:
            found.append(f"column {spec.name} is missing and may not be null")
        elif spec.name in stored and stored[spec.name] != expected[spec.name]:
            found.append(f"column {spec.name} is {stored[spec.name]}, expected {expected[spec.name]}")
    return found
