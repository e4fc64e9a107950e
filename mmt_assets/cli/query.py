"""`python -m mmt_assets query`: one query, opened read-only and closed at once."""

import duckdb
import pandas as pd
from rich.table import Table

from mmt_assets.build import build_warehouse
from mmt_assets.cli.terminal import console
from mmt_assets.settings import Settings
from mmt_assets.warehouse import DuckDBWarehouse, Statement, WarehouseError

_MOST_ROWS = 1000


def print_query(settings: Settings, sql: str) -> None:
    """Run the query and print up to 1,000 rows.

    Raises:
        WarehouseError: The warehouse is missing or busy, or the query is wrong.
    """
    frame = _in_duckdb(settings, sql) if settings.env == "local" else _in_bigquery(settings, sql)
    print_frame(frame.head(_MOST_ROWS))
    shown = f", the first {_MOST_ROWS} shown" if len(frame) > _MOST_ROWS else ""
    console.print(f"{len(frame)} rows{shown}", style="dim")


def _in_duckdb(settings: Settings, sql: str) -> pd.DataFrame:
    """Rows of a query in DuckDB's dialect, as an analyst's own tools take it."""
    warehouse = DuckDBWarehouse(settings.warehouse_path, settings.busy_timeout_seconds)
    with warehouse.open(read_only=True) as session:
        try:
            return session.connection.execute(sql).df()
        except duckdb.Error as error:
            raise WarehouseError(str(error)) from error


def _in_bigquery(settings: Settings, sql: str) -> pd.DataFrame:
    """Rows of a GoogleSQL query; `raw`, `features`, ... are the datasets of MMT_PROJECT with their prefix."""
    with build_warehouse(settings).open(read_only=True) as session:
        return session.query(Statement(sql))


def print_frame(frame: pd.DataFrame, title: str | None = None) -> None:
    """Print a frame as a table; numbers to the right."""
    table = Table(title=title)
    for column in frame.columns:
        table.add_column(str(column), justify="right" if pd.api.types.is_numeric_dtype(frame[column]) else "left")
    for row in frame.itertuples(index=False):
        table.add_row(*("" if pd.isna(value) else str(value) for value in row))
    console.print(table)
