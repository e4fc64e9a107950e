"""One contract per table: columns, types, keys and rules."""

from mmt_assets.contracts.analysts import ACCURACY, ANALYST_TABLES, CONCERT_PROPOSALS, CONCERT_SCENARIOS
from mmt_assets.contracts.features import CITY_DEMAND, CONCERT_SALES, FEATURE_TABLES
from mmt_assets.contracts.forecasts import (
    BOOKING_CURVES,
    CITY_DEMAND_FORECAST,
    CONCERT_FORECAST,
    CONCERT_OUTLOOK,
    FORECAST_TABLES,
    OUTLOOK_CHANGES,
    PUBLISHED_OUTLOOK,
    TICKET_SALES,
)
from mmt_assets.contracts.operations import NOTIFICATIONS, OPERATIONS_TABLES, VM_LEDGER, WRITE_FENCES
from mmt_assets.contracts.raw import (
    CONCERTS,
    MAKES,
    RAW_TABLES,
    REJECTED_ROWS,
    TICKET_ORDERS,
    TICKET_REFUNDS,
    UNDATED_REFUNDS,
)
from mmt_assets.contracts.spec import Column, ColumnType, Rule, TableContract

ALL_TABLES = (*RAW_TABLES, *FEATURE_TABLES, *FORECAST_TABLES, *ANALYST_TABLES, *OPERATIONS_TABLES)

__all__ = [
    "ACCURACY",
    "ALL_TABLES",
    "ANALYST_TABLES",
    "BOOKING_CURVES",
    "CITY_DEMAND",
    "CITY_DEMAND_FORECAST",
    "CONCERTS",
    "CONCERT_FORECAST",
    "CONCERT_OUTLOOK",
    "CONCERT_PROPOSALS",
    "CONCERT_SALES",
    "CONCERT_SCENARIOS",
    "FEATURE_TABLES",
    "FORECAST_TABLES",
    "MAKES",
    "NOTIFICATIONS",
    "OPERATIONS_TABLES",
    "OUTLOOK_CHANGES",
    "PUBLISHED_OUTLOOK",
    "RAW_TABLES",
    "REJECTED_ROWS",
    "TICKET_ORDERS",
    "TICKET_REFUNDS",
    "TICKET_SALES",
    "UNDATED_REFUNDS",
    "VM_LEDGER",
    "WRITE_FENCES",
    "Column",
    "ColumnType",
    "Rule",
    "TableContract",
]
