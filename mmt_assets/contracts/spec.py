"""What a table contract is made of.

A contract is the single description of a table: DuckDB and BigQuery schemas, write checks, asset checks and
the column schema in the UI all come from it. Types are GoogleSQL's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

ColumnType = Literal["STRING", "INT64", "FLOAT64", "NUMERIC", "BOOL", "DATE", "TIMESTAMP"]
Schema = Literal["raw", "features", "forecasts", "operations"]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: Column name; `_date` is a day in the business time zone, `_at` an instant in UTC.
        type: GoogleSQL type; NUMERIC means NUMERIC(18, 4).
        description: Meaning and unit, shown in the UI and in BigQuery.
        required: Whether null is forbidden.
        allowed: Closed set of values, empty for any.
        minimum: Smallest allowed value.
    """

    name: str
    type: ColumnType
    description: str
    required: bool = True
    allowed: tuple[str, ...] = ()
    minimum: float | None = None


@dataclass(frozen=True)
class Rule:
    """A constraint across columns, checked after each write.

    Attributes:
        name: Name of the asset check.
        description: What must hold, in words.
        violated_when: GoogleSQL condition over the table's columns that is true for a bad row.
    """

    name: str
    description: str
    violated_when: str


@dataclass(frozen=True)
class TableContract:
    """One table.

    Attributes:
        schema: DuckDB schema, BigQuery dataset and Dagster key prefix.
        name: Table and asset name.
        description: Grain and content.
        columns: Columns in order.
        key: Columns that identify a row.
        partition_column: DATE column that day partitions are cut by, or None.
        cluster_by: Columns that BigQuery clusters by.
        rules: Constraints across columns.
    """

    schema: Schema
    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition_column: str | None = None
    cluster_by: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    columns_by_name: Mapping[str, Column] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a contract that names columns it does not have."""
        object.__setattr__(self, "columns_by_name", {column.name: column for column in self.columns})
        named = {*self.key, *self.cluster_by, *([self.partition_column] if self.partition_column else [])}
        if unknown := named - self.columns_by_name.keys():
            raise ValueError(f"contract {self.table}: no such column {sorted(unknown)}")

    @property
    def table(self) -> str:
        """`schema.name`, as SQL files write it."""
        return f"{self.schema}.{self.name}"

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns in order."""
        return tuple(column.name for column in self.columns)


def quantiles_ordered(*prefixes: str) -> Rule:
    """Rule: p10 <= p50 <= p90 for each quantile triple that starts with one of `prefixes`."""
    violations = [f"{p}_p10 > {p}_p50 OR {p}_p50 > {p}_p90" for p in prefixes]
    return Rule("quantiles_ordered", "p10 <= p50 <= p90", " OR ".join(violations))
