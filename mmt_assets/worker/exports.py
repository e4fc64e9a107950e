"""Parquet copies of the forecast tables, for tools that should not open the warehouse."""

import os
import tempfile
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

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
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    os.close(descriptor)
    try:
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, preserve_index=False)
        parquet.write_table(table, temporary)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
