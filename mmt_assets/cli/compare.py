"""`python -m mmt_assets compare`: a day of the local warehouse against BigQuery."""

from datetime import date

from rich.markup import escape
from rich.table import Table

from mmt_assets.build import build_warehouse
from mmt_assets.cli.terminal import console
from mmt_assets.contracts import ALL_TABLES
from mmt_assets.settings import Settings
from mmt_assets.warehouse import DuckDBWarehouse
from mmt_assets.warehouse.compare import compare_day


def compare_engines(settings: Settings, day: date) -> bool:
    """Print how each table's day differs between both engines; returns whether all are equal.

    Args:
        settings: Settings; MMT_WAREHOUSE names the DuckDB file, MMT_PROJECT and its kind the datasets.
        day: Business day, or as-of date.

    Raises:
        WarehouseError: One of the warehouses cannot be read, or lacks a table.
    """
    cloud = build_warehouse(settings.model_copy(update={"env": "gcp"}))
    local = DuckDBWarehouse(settings.warehouse_path, settings.busy_timeout_seconds)
    with local.open(read_only=True) as left, cloud.open(read_only=True) as right:
        compared = compare_day(left, right, ALL_TABLES, day)
    shown = Table(title=f"{day}: DuckDB on the left, BigQuery on the right")
    for heading in ("table", "left", "right", "verdict"):
        shown.add_column(heading, justify="right" if heading in ("left", "right") else "left")
    for one in compared:
        shown.add_row(one.table, f"{one.rows[0]:,}", f"{one.rows[1]:,}", escape(one.describe()))
    console.print(shown)
    return all(one.is_equal for one in compared)
