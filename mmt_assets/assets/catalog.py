"""What the UI shows of each table, from its contract."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from mmt_assets.contracts import TableContract
from mmt_assets.settings import Settings

OWNERS = ["team:data-engineering"]
# A day and the time that a daily run may start late.
_FRESH_FOR = timedelta(hours=26)


def asset_key(contract: TableContract) -> dg.AssetKey:
    """`schema/name`."""
    return dg.AssetKey([contract.schema, contract.name])


def column_schema(contract: TableContract) -> dg.TableSchema:
    """Columns with types, descriptions and constraints."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type,
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=not column.required),
            )
            for column in contract.columns
        ]
    )


def catalog_entry(
    contract: TableContract, *, kinds: Sequence[str] = ("duckdb", "sql"), explanation: str = ""
) -> dict[str, Any]:
    """Arguments that `dg.asset` and `dg.AssetSpec` share for this table.

    Args:
        contract: Table.
        kinds: Technologies to show.
        explanation: What a partition means and what a rerun does.
    """
    grain = f"**Key**: {', '.join(contract.key)}."
    return {
        "group_name": contract.schema,
        "description": "\n\n".join(filter(None, [contract.description, grain, explanation])),
        "owners": OWNERS,
        "kinds": set(kinds),
        "metadata": {
            "dagster/column_schema": column_schema(contract),
            "dagster/table_name": contract.table,
        },
    }


def daily_freshness(settings: Settings) -> dg.FreshnessPolicy | None:
    """Fresh while the last daily run is young; a frozen history does not age."""
    return None if settings.last_day else dg.FreshnessPolicy.time_window(fail_window=_FRESH_FOR)


def table_asset(**arguments: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`dg.asset` for arguments that are put together: its overloads cannot be told apart then."""
    return dg.asset(**arguments)
