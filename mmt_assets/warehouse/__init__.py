"""Where tables live: DuckDB on one machine, BigQuery in production, behind one small protocol.

BigQuery is imported where it is used, from `mmt_assets.warehouse.bigquery`: Google's clients take long to import.
"""

from mmt_assets.warehouse.duckdb import DuckDBWarehouse
from mmt_assets.warehouse.protocol import (
    AttachedTable,
    ContractError,
    Fence,
    InsertMissing,
    ReplaceNewer,
    ReplaceSlice,
    SchemaDriftError,
    Session,
    Slice,
    SourceTable,
    StaleWriteError,
    Statement,
    Usage,
    Warehouse,
    WarehouseBusyError,
    WarehouseError,
    Write,
    WriteResult,
)
from mmt_assets.warehouse.source import SourceError

__all__ = [
    "AttachedTable",
    "ContractError",
    "DuckDBWarehouse",
    "Fence",
    "InsertMissing",
    "ReplaceNewer",
    "ReplaceSlice",
    "SchemaDriftError",
    "Session",
    "Slice",
    "SourceError",
    "SourceTable",
    "StaleWriteError",
    "Statement",
    "Usage",
    "Warehouse",
    "WarehouseBusyError",
    "WarehouseError",
    "Write",
    "WriteResult",
]
