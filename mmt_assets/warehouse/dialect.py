"""From GoogleSQL to DuckDB, and from contracts to table definitions."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import cast, get_args

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from mmt_assets.contracts import Column, ColumnType, TableContract
from mmt_assets.warehouse.compose import Fragment, column, compose, join, table
from mmt_assets.warehouse.protocol import SourceTable, Statement, Value, WarehouseError

_TYPES: dict[ColumnType, Fragment] = {
    "STRING": compose("VARCHAR"),
    "INT64": compose("BIGINT"),
    "FLOAT64": compose("DOUBLE"),
    "NUMERIC": compose("DECIMAL(18, 4)"),
    "BOOL": compose("BOOLEAN"),
    "DATE": compose("DATE"),
    "TIMESTAMP": compose("TIMESTAMP WITH TIME ZONE"),
}
_SIGNED = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"}
_INTEGERS = {*_SIGNED, *(f"U{name}" for name in _SIGNED)}
_FRACTIONS = {"FLOAT", "DOUBLE", "DECIMAL"}
_NAIVE_TIMES = {"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"}
# What rows may bring for each type without a change of meaning. An aware time is no day: which day it is
# depends on the zone, so the writer has to say.
_ACCEPTED: dict[ColumnType, set[str]] = {
    "STRING": {"VARCHAR", "ENUM", "UUID", "JSON"},
    "INT64": _INTEGERS,
    "FLOAT64": _INTEGERS | _FRACTIONS,
    "NUMERIC": _INTEGERS | _FRACTIONS,
    "BOOL": {"BOOLEAN"},
    "DATE": {"DATE"},
    "TIMESTAMP": {"TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"} | _NAIVE_TIMES,
}
# Accepted as long as nothing is lost: 3.0 is an integer and a midnight is a day.
_ACCEPTED_IF_EXACT: dict[ColumnType, set[str]] = {"INT64": _FRACTIONS, "DATE": _NAIVE_TIMES}
_SESSION_SCHEMAS = ("source", "staging")


@dataclass(frozen=True)
class Transpiled:
    """One statement in DuckDB's dialect.

    Attributes:
        sql: The text.
        parameters: Names of its parameters (DuckDB refuses values for parameters it does not find).
        sources: Source tables that it reads.
    """

    sql: str
    parameters: frozenset[str]
    sources: frozenset[str]


def parse_statement(sql: str) -> exp.Expr:
    """The tree of one GoogleSQL statement.

    Raises:
        WarehouseError: The text holds no statement, several, or one that is not valid.
    """
    complaint = "not one valid GoogleSQL statement"
    try:
        statements = [statement for statement in sqlglot.parse(sql, read="bigquery") if statement]
    except SqlglotError as error:
        raise WarehouseError(f"{complaint}: {error}\n{sql}") from error
    if len(statements) != 1:
        raise WarehouseError(f"{complaint}: expected one SQL statement, found {len(statements)}\n{sql}")
    return statements[0]


def bound_values(statement: Statement, names: Iterable[str]) -> dict[str, Value]:
    """Values of the parameters that a statement's text names; others are left out, as engines refuse them.

    Raises:
        WarehouseError: A value is missing.
    """
    if absent := set(names) - statement.parameters.keys():
        raise WarehouseError(f"no value for @{', @'.join(sorted(absent))} of the statement\n{statement.sql}")
    return {name: statement.parameters[name] for name in names}


def source_tables(names: Iterable[str]) -> list[SourceTable]:
    """Names of source tables, in order.

    Raises:
        WarehouseError: There is no such source table.
    """
    known = get_args(SourceTable)
    for name in sorted(names):
        if name not in known:
            raise WarehouseError(f"source.{name} does not exist; there are {', '.join(known)}")
    return cast("list[SourceTable]", sorted(names))


@lru_cache(maxsize=1024)
def to_duckdb(sql: str) -> Transpiled:
    """Transpile one GoogleSQL statement; `source.x` and `staging.x` become temporary tables of the session.

    Raises:
        WarehouseError: The text is not one valid statement.
    """
    tree = parse_statement(sql)
    sources = set[str]()
    for node in tree.find_all(exp.Table):
        if node.db in _SESSION_SCHEMAS:
            if node.db == "source":
                sources.add(node.name)
            if not node.alias and isinstance(node.parent, exp.From | exp.Join):
                # `FROM source.makes` may be followed by `makes.artist`.
                node.set("alias", exp.TableAlias(this=exp.to_identifier(node.name)))
            node.set("this", exp.to_identifier(f"{node.db}_{node.name}"))
            node.set("db", None)
    for node in list(tree.find_all(exp.Cast)):
        if node.is_type(exp.DataType.Type.VARBINARY, exp.DataType.Type.BINARY):
            # GoogleSQL casts text to its UTF-8 bytes; DuckDB's own cast reads escapes and refuses other scripts.
            node.replace(exp.Encode(this=node.this.copy(), charset=exp.Literal.string("utf-8")))
    names = frozenset(str(parameter.name) for parameter in tree.find_all(exp.Parameter))
    return Transpiled(tree.sql(dialect="duckdb"), names, frozenset(sources))


def duckdb_type(spec: Column) -> Fragment:
    """DuckDB type of a contract's column."""
    return _TYPES[spec.type]


def duckdb_column(name: str) -> Fragment:
    """A quoted DuckDB column."""
    return Fragment(column(name).replace("`", '"'))


def create_table(contract: TableContract) -> Fragment:
    """DuckDB statement that makes the contract's table when it is missing.

    Nulls are refused by the contract check before a write, with a message that names the rows, so the table
    itself carries no constraints: DuckDB's primary keys would make a replace in one transaction fail.
    """
    definitions = (
        compose("{name} {type}", name=duckdb_column(spec.name), type=duckdb_type(spec)) for spec in contract.columns
    )
    return compose(
        "CREATE TABLE IF NOT EXISTS {table} ({columns})",
        table=table(contract.table),
        columns=join(", ", definitions),
    )


def cast_exactly(spec: Column, found: str) -> Fragment:
    """DuckDB projection that brings a column of type `found` to the contract's type, or fails.

    DuckDB alone would round 1.5 to 2, drop the time of a timestamp that becomes a date, and print a number into a
    text column. A null passes whatever the type: pandas keeps a column without values as float.
    """
    base = found.partition("(")[0].strip('"')
    name, kind = duckdb_column(spec.name), duckdb_type(spec)
    if base == "NULL":
        return compose("CAST(NULL AS {kind}) AS {name}", kind=kind, name=name)
    if base in _ACCEPTED[spec.type]:
        return compose("CAST({name} AS {kind}) AS {name}", kind=kind, name=name)
    complaint = compose(
        "error('column {bare} holds ' || CAST({name} AS VARCHAR) || ' ({found}), expected {type}')",
        bare=table(spec.name),
        name=name,
        # Only the base name: an ENUM's type would list its values.
        found=table(re.sub(r"\W+", "_", base)),
        type=table(spec.type),
    )
    if base not in _ACCEPTED_IF_EXACT.get(spec.type, ()):
        return compose(
            "CAST(CASE WHEN {name} IS NULL THEN NULL ELSE {complaint} END AS {kind}) AS {name}",
            name=name,
            complaint=complaint,
            kind=kind,
        )
    rounded = compose("TRUNC({name})" if spec.type == "INT64" else "CAST({name} AS DATE)", name=name)
    return compose(
        "CASE WHEN {name} IS NULL OR {name} = {rounded} THEN CAST({name} AS {kind}) ELSE {complaint} END AS {name}",
        name=name,
        rounded=rounded,
        kind=kind,
        complaint=complaint,
    )
