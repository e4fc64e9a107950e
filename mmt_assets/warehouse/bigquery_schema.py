"""Contracts as BigQuery tables, and GoogleSQL that fits each session's datasets."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from google.api_core.exceptions import Conflict, NotFound
from google.cloud import bigquery
from sqlglot import exp

from mmt_assets.contracts import Column, ColumnType, TableContract
from mmt_assets.warehouse.bigquery_jobs import Jobs
from mmt_assets.warehouse.checks import drift
from mmt_assets.warehouse.compose import Fragment, column, compose, table
from mmt_assets.warehouse.dialect import parse_statement
from mmt_assets.warehouse.protocol import SchemaDriftError, Statement, WarehouseError

# The API's names of the types.
_API_TYPES: dict[ColumnType, str] = {
    "STRING": "STRING",
    "INT64": "INTEGER",
    "FLOAT64": "FLOAT",
    "NUMERIC": "NUMERIC",
    "BOOL": "BOOLEAN",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP",
}
_SQL_TYPES = {api: name for name, api in _API_TYPES.items()} | {"BIGNUMERIC": "BIGNUMERIC", "DATETIME": "DATETIME"}
_NUMBERS = {"INTEGER", "NUMERIC", "BIGNUMERIC", "FLOAT"}
# What a query may bring for each type without a change of meaning; an integer also as a number without a fraction.
_ACCEPTED: dict[ColumnType, set[str]] = {
    "STRING": {"STRING"},
    "INT64": _NUMBERS,
    "FLOAT64": _NUMBERS,
    "NUMERIC": _NUMBERS,
    "BOOL": {"BOOLEAN"},
    "DATE": {"DATE"},
    "TIMESTAMP": {"TIMESTAMP"},
}


@dataclass(frozen=True)
class Datasets:
    """Names that the tables of one session have in BigQuery.

    Attributes:
        project: Google Cloud project.
        prefix: What the names of the datasets begin with.
        session: What the names of the session's staging tables begin with.
    """

    project: str
    prefix: str
    session: str

    def table(self, schema: str, name: str) -> str:
        """`dataset.table` of what our SQL calls `schema.name`."""
        if schema in ("source", "staging"):
            own = f"source_{name}" if schema == "source" else name
            return f"{self.prefix}staging.{self.session}_{own}"
        return f"{self.prefix}{schema}.{name}"

    def reference(self, contract: TableContract) -> str:
        """`project.dataset.table` of a contract's table."""
        return f"{self.project}.{self.table(contract.schema, contract.name)}"


@dataclass(frozen=True)
class Rewritten:
    """One statement with this session's table names.

    Attributes:
        sql: The text.
        parameters: Names of its parameters.
        sources: Source tables that it reads.
    """

    sql: str
    parameters: frozenset[str]
    sources: frozenset[str]


_OURS = ("raw", "features", "forecasts", "operations", "source", "staging")


@lru_cache(maxsize=1024)
def to_bigquery(sql: str, datasets: Datasets) -> Rewritten:
    """Put the session's table names into one GoogleSQL statement; tables of other datasets stay as they are.

    Raises:
        WarehouseError: The text is not one valid statement.
    """
    tree, sources = parse_statement(sql), set[str]()
    for node in list(tree.find_all(exp.Table)):
        if node.db not in _OURS or node.catalog:
            continue
        if node.db == "source":
            sources.add(node.name)
        dataset, _, name = datasets.table(node.db, node.name).partition(".")
        if not node.alias and isinstance(node.parent, exp.From | exp.Join):
            # `FROM source.makes` may be followed by `makes.artist`.
            node.set("alias", exp.TableAlias(this=exp.to_identifier(node.name)))
        node.set("this", exp.to_identifier(name))
        node.set("db", exp.to_identifier(dataset))
    names = frozenset(str(parameter.name) for parameter in tree.find_all(exp.Parameter))
    return Rewritten(tree.sql(dialect="bigquery", comments=False), names, frozenset(sources))


def field(spec: Column, *, nullable: bool = False) -> bigquery.SchemaField:
    """A contract's column."""
    mode = "REQUIRED" if spec.required and not nullable else "NULLABLE"
    kind, told = _API_TYPES[spec.type], spec.description
    if spec.type == "NUMERIC":
        return bigquery.SchemaField(spec.name, kind, mode, description=told, precision=18, scale=4)
    return bigquery.SchemaField(spec.name, kind, mode, description=told)


def table_of(contract: TableContract, reference: str) -> bigquery.Table:
    """A contract's table: columns with their descriptions, partitions by day, clusters."""
    made = bigquery.Table(reference, schema=[field(spec) for spec in contract.columns])
    made.description = contract.description
    if contract.partition_column:
        made.time_partitioning = bigquery.TimePartitioning(field=contract.partition_column)
    made.clustering_fields = list(contract.cluster_by) or None
    return made


def ensure_table(jobs: Jobs, contract: TableContract, reference: str) -> None:
    """Create the table, or add the contract's new nullable columns to it.

    Raises:
        SchemaDriftError: The table differs in any other way; it is left as it is.
        WarehouseError: The dataset does not exist.
    """
    wanted, client = table_of(contract, reference), jobs.client
    try:
        found = client.get_table(reference)
    except NotFound:
        try:
            found = client.create_table(wanted)
        except Conflict:
            # Another run was faster.
            found = client.get_table(reference)
        except NotFound as error:
            raise WarehouseError(f"{reference}: its dataset does not exist: terraform apply, see infra/") from error
    if wrong := _differences(contract, found, wanted):
        raise SchemaDriftError(f"{contract.table} differs from its contract: {'; '.join(wrong)}. Migrate it.")
    stored = {one.name for one in found.schema}
    for one in wanted.schema:
        if one.name not in stored:
            jobs.run(_add_column(contract.columns_by_name[one.name], reference))
    # New columns come last, whichever place they have in the contract; what may be null now is relaxed.
    ours = {one.name: one for one in wanted.schema}
    if len(stored) < len(ours):
        found = client.get_table(reference)
    schema = [_described(one, ours[one.name]) for one in found.schema]
    if [_facts(one) for one in schema] != [_facts(one) for one in found.schema]:
        found.schema = schema
        client.update_table(found, ["schema"])


def _differences(contract: TableContract, found: bigquery.Table, wanted: bigquery.Table) -> list[str]:
    """What makes the stored table unfit for its contract."""
    stored = {one.name: _type_name(one) for one in found.schema}
    expected = {one.name: _type_name(one) for one in wanted.schema}
    # A NUMERIC without digits holds whatever one with digits does.
    expected |= {name: "NUMERIC" for name, kind in stored.items() if kind == "NUMERIC" and _is_number(expected, name)}
    wrong = drift(contract, stored, expected)
    nullable = {one.name for one in found.schema if one.mode != "REQUIRED"}
    wrong += [f"column {spec.name} may be null" for spec in contract.columns if spec.required and spec.name in nullable]
    day = found.time_partitioning.field if found.time_partitioning else None
    if day != contract.partition_column:
        wrong.append(f"it is partitioned by {day}, expected {contract.partition_column}")
    if tuple(found.clustering_fields or ()) != contract.cluster_by:
        wrong.append(f"it is clustered by {found.clustering_fields}, expected {list(contract.cluster_by)}")
    return wrong


def _add_column(spec: Column, reference: str) -> Statement:
    kind = compose("NUMERIC(18, 4)") if spec.type == "NUMERIC" else table(spec.type)
    sql = compose(
        "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {name} {kind}",
        table=Fragment(f"`{reference}`"),
        name=column(spec.name),
        kind=kind,
    )
    return Statement(sql)


def _is_number(types: Mapping[str, str], name: str) -> bool:
    return types.get(name, "").startswith("NUMERIC(")


def _described(stored: bigquery.SchemaField, ours: bigquery.SchemaField) -> bigquery.SchemaField:
    """The stored column with our description and mode."""
    facts = {**stored.to_api_repr(), "mode": ours.mode, "description": ours.description}
    return bigquery.SchemaField.from_api_repr(facts)


def _facts(one: bigquery.SchemaField) -> tuple[str, str, str | None]:
    return one.name, one.mode, one.description


def _type_name(one: bigquery.SchemaField) -> str:
    name = _SQL_TYPES.get(one.field_type, one.field_type)
    return f"{name}({one.precision}, {one.scale})" if one.precision else name


def cast_exactly(spec: Column, found: bigquery.SchemaField) -> Fragment | None:
    """GoogleSQL projection that brings a column to the contract's type, or fails; None when it never fits."""
    if found.field_type not in _ACCEPTED[spec.type]:
        return None
    name, kind = column(spec.name), compose("NUMERIC(18, 4)") if spec.type == "NUMERIC" else table(spec.type)
    if spec.type != "INT64" or found.field_type == "INTEGER":
        return compose("CAST({name} AS {kind}) AS {name}", name=name, kind=kind)
    return compose(
        "IF({name} IS NULL OR {name} = TRUNC({name}), CAST({name} AS INT64), "
        "ERROR(CONCAT('column {bare} holds ', CAST({name} AS STRING)))) AS {name}",
        name=name,
        bare=table(spec.name),
    )
