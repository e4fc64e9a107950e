"""Where tables live: DuckDB on one machine, behind one small protocol."""

from mmt_assets.warehouse.duckdb import DuckDBWarehouse
from mmt_assets.warehouse.protocol import (
    ContractError,
    Fence,
    InsertMissing,
    ReplaceNewer,
    ReplaceSlice,
    SchemaDriftError,
    Session,
    Slice,
    StaleWriteError,
    Statement,
    Warehouse,
    WarehouseBusyError,
    WarehouseError,
    Write,
    WriteResult,
)
from mmt_assets.warehouse.source import SourceError

__all__ = [
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
    "StaleWriteError",
    "Statement",
    "Warehouse",
    "WarehouseBusyError",
    "WarehouseError",
    "Write",
    "WriteResult",
]
