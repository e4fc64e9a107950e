"""Writes the world to Parquet files by month, each only when its content changes.

Every file says in its footer for which last days it is right. A later call reads the footers and makes
only the months that are not, so there is no state beside the files, a call that dies half-way is
completed by the next one, and two calls at once write the same bytes.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from mmt_assets.sample.tables import (
    MonthContent,
    MonthSlice,
    concerts_by_month,
    makes_of_month,
    month_slices,
    orders_of_month,
)
from mmt_assets.sample.world import EPOCH, WORLD_VERSION

_TABLES = ("concerts", "ticket_orders", "makes")
_BUILDERS = {"ticket_orders": orders_of_month, "makes": makes_of_month}
_WINDOW_MONTHS = 18
_FOOTER_KEY = b"mmt_assets.sample"


@dataclass(frozen=True, slots=True)
class SampleWindow:
    """What a sample source directory holds: business days in Asia/Seoul, both ends included, and rows."""

    first_day: date
    last_day: date
    concerts_count: int
    ticket_orders_count: int
    makes_count: int


@dataclass(frozen=True, slots=True)
class _Footer:
    """For which window a file is right; dates are ISO text. Only concerts leave `right_*` open."""

    first_day: str
    right_from: str
    right_until: str
    version: int = WORLD_VERSION

    def is_right_for(self, days: MonthSlice, last_day: date) -> bool:
        return (
            self.version == WORLD_VERSION
            and self.first_day == days.first_day.isoformat()
            and self.right_from <= last_day.isoformat() <= self.right_until
        )

    @property
    def metadata(self) -> dict[bytes, bytes]:
        return {_FOOTER_KEY: json.dumps(asdict(self)).encode()}


@dataclass(frozen=True, slots=True)
class _PresentFile:
    footer: _Footer
    rows_count: int


def default_first_day(last_day: date) -> date:
    """Give the first of the month 18 months before a day, or the epoch where that is later."""
    year, month_index = divmod(last_day.year * 12 + last_day.month - 1 - _WINDOW_MONTHS, 12)
    return max(EPOCH, date(year, month_index + 1, 1))


def write_source(directory: Path, *, last_day: date, first_day: date | None = None) -> SampleWindow:
    """Bring a source directory to the end of a business day.

    Writes `concerts/`, `ticket_orders/` and `makes/`, each with one Parquet file per month, containing
    only what is known at 15:00 UTC of `last_day`. Files whose content stays are not touched, months
    outside the window are removed, and each file appears complete (written aside, then renamed).

    Args:
        directory: Made if it does not exist.
        last_day: Last business day (Asia/Seoul) to write.
        first_day: First business day of orders and makes, and the first on which a concert must not yet
            have begun; by default `default_first_day(last_day)`.

    Returns:
        The window and how many rows each table now has, dirty ones included.

    Raises:
        ValueError: If the window is empty or begins before the epoch.
        FileExistsError: If one of the folders holds Parquet files that are not of the sample world.
    """
    first_day = default_first_day(last_day) if first_day is None else first_day
    if not EPOCH <= first_day <= last_day:
        raise ValueError(
            f"The sample world begins on {EPOCH}: choose first_day and last_day with "
            f"{EPOCH} <= first_day <= last_day, not {first_day} and {last_day}."
        )
    folders = {table: directory / table for table in _TABLES}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    files = {path: present for folder in folders.values() for path, present in _present_files(folder)}

    rows_counts: dict[str, dict[Path, int]] = {table: {} for table in _TABLES}
    for name, rows in concerts_by_month(first_day, last_day).items():
        path = folders["concerts"] / f"{name}.parquet"
        _replace(path, rows, _Footer(first_day="", right_from="", right_until=""))
        rows_counts["concerts"][path] = rows.num_rows
    for table, build in _BUILDERS.items():
        for days in month_slices(first_day, last_day):
            path = folders[table] / f"{days.name}.parquet"
            present = files.get(path)
            if present is not None and present.footer.is_right_for(days, last_day):
                rows_counts[table][path] = present.rows_count
                continue
            content = build(days, last_day)
            _replace(path, content.rows, _footer_of(days, content))
            rows_counts[table][path] = content.rows.num_rows
    for path in files.keys() - {path for counts in rows_counts.values() for path in counts}:
        path.unlink(missing_ok=True)
    totals = {table: sum(counts.values()) for table, counts in rows_counts.items()}
    return SampleWindow(
        first_day=first_day,
        last_day=last_day,
        concerts_count=totals["concerts"],
        ticket_orders_count=totals["ticket_orders"],
        makes_count=totals["makes"],
    )


def _footer_of(days: MonthSlice, content: MonthContent) -> _Footer:
    return _Footer(
        first_day=days.first_day.isoformat(),
        right_from=content.right_from.isoformat(),
        right_until=content.right_until.isoformat(),
    )


def _present_files(folder: Path) -> Iterator[tuple[Path, _PresentFile]]:
    """Read footer and row count of a folder's Parquet files; another call may remove files meanwhile."""
    for path in sorted(folder.glob("*.parquet")):
        try:
            metadata = pq.read_metadata(path)
        except FileNotFoundError:
            continue
        fields = (metadata.metadata or {}).get(_FOOTER_KEY)
        if fields is None:
            raise FileExistsError(
                f"{path} is not a file of the sample world; give write_source a directory of its own."
            )
        yield path, _PresentFile(_Footer(**json.loads(fields)), metadata.num_rows)


def _has_content(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False


def _replace(path: Path, rows: pa.Table, footer: _Footer) -> None:
    """Write a file in one step, unless it has these very bytes already."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows.replace_schema_metadata(footer.metadata), sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    if _has_content(path, content):
        return
    aside = path.with_name(f".{path.name}.{uuid4().hex}.tmp")  # readers look for *.parquet
    try:
        with aside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
