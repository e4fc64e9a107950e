"""Parquet copies of the forecast tables, for tools that should not open the warehouse."""

from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from mmt_assets.atomic_file import replacing
from mmt_assets.contracts import TableContract


def export_rows(
    rows: pd.DataFrame | pa.Table, directory: Path, contract: TableContract, as_of: date | None = None
) -> Path:
    """Write `<directory>/<table>.parquet`, or `<directory>/<table>/<as-of date>.parquet`, replacing it atomically.

    Args:
        rows: Rows.
        directory: Directory of all exports.
        contract: Table that the rows are of.
        as_of: Day of a table that grows by one file a day.

    Returns:
        The file.
    """
    path = directory / f"{contract.name}.parquet" if as_of is None else directory / contract.name / f"{as_of}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, preserve_index=False)
        parquet.write_table(table, temporary)
    return path
