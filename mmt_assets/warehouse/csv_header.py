"""The header of a CSV file: its columns, and with them the delimiter."""

import csv
from dataclasses import dataclass
from pathlib import Path

from mmt_assets.warehouse.errors import SourceError

_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class CSVHeader:
    """First record of a CSV file.

    Attributes:
        columns: Names as they are written.
        delimiter: Character between two values.
    """

    columns: tuple[str, ...]
    delimiter: str


def read_header(path: Path, required: tuple[str, ...]) -> CSVHeader:
    """Read a CSV file's header with the delimiter that makes most of the `required` columns appear.

    Raises:
        SourceError: The file has no header.
        OSError: It cannot be read.
        UnicodeDecodeError: It is not UTF-8.
    """
    headers: list[CSVHeader] = []
    for delimiter in _DELIMITERS:
        # A byte order mark is no part of the first name.
        with path.open(encoding="utf-8-sig", newline="") as lines:
            try:
                first = next(csv.reader(lines, delimiter=delimiter), [])
            except csv.Error as error:
                raise SourceError(f"{path}: the header cannot be read: {error}") from error
        headers.append(CSVHeader(tuple(first), delimiter))
    if not any(name.strip() for name in headers[0].columns):
        raise SourceError(f"{path} does not begin with a header; expected {', '.join(required)}")
    return max(headers, key=lambda header: sum(name.strip().lower() in required for name in header.columns))
