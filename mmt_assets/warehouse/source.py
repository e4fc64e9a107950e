"""A source directory of Parquet or CSV files, read as text so that bad values become rejected rows."""

import re
from dataclasses import dataclass
from pathlib import Path

import duckdb

from mmt_assets.warehouse.compose import Fragment, compose, join, table
from mmt_assets.warehouse.csv_header import CSVHeader, read_header
from mmt_assets.warehouse.errors import SourceError
from mmt_assets.warehouse.protocol import AttachedTable, SourceTable

_ROW_NUMBER = "file_row_number"
# Whatever they hold is text without blanks at its ends, so that nothing needs to be trimmed.
_NEVER_BLANK = {"INTEGER", "BIGINT", "BOOLEAN", "DATE", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"}


@dataclass(frozen=True)
class SourceShape:
    """Columns of one source table: those it must have, and those that may be absent."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    optional_table: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read."""
        return (*self.required, *self.optional)


SHAPES: dict[SourceTable, SourceShape] = {
    "concerts": SourceShape(
        ("concert_id", "artist", "city", "country", "show_at", "status"),
        ("venue", "capacity", "on_sale_at", "status_at", "timezone"),
    ),
    "ticket_orders": SourceShape(
        ("order_id", "concert_id", "ordered_at", "quantity", "unit_price", "currency", "status"), ("status_at",)
    ),
    "makes": SourceShape(("fan_id", "artist", "city", "country", "made_at"), optional_table=True),
}
_SUFFIXES = (".parquet", ".csv")


def find_files(directory: Path, table: SourceTable) -> tuple[Path, ...]:
    """Files of one table: `TABLE.parquet`, `TABLE.csv`, numbered parts of it, or anything below `TABLE/`.

    A numbered part continues the table's name with `-` or `_`, perhaps `part`, and a digit: `ticket_orders_2026.csv`,
    `ticket_orders-part-00001.parquet`. Hidden files are left out.

    Raises:
        SourceError: The directory cannot be read, holds no file of a table that must be there, or holds one that
            might be another table's, a copy or a broken link: better no rows than the wrong ones.
    """
    part = re.compile(rf"{table}([-_](part[-_]?)?\d.*)?", re.IGNORECASE)
    try:
        if not directory.is_dir():
            raise SourceError(
                f"MMT_SOURCE: {directory} is not a directory; expected one with concerts and ticket_orders"
            )
        beside = [path for path in directory.iterdir() if path.stem.lower().startswith(table)]
        below = [
            path
            for path in (directory / table).rglob("*")
            if not any(name.startswith(".") for name in path.relative_to(directory).parts)
        ]
        found = sorted(p for p in (*beside, *below) if p.suffix.lower() in _SUFFIXES and not p.is_dir())
        for path in found:
            if path.parent == directory and not part.fullmatch(path.stem):
                raise SourceError(
                    f"{path} may or may not be part of {table}: name a part {table}_1{path.suffix}, move it to "
                    f"{directory / table}/, or move it away"
                )
            if not path.is_file():
                raise SourceError(f"{path} is no file (a broken link?): mend it or move it away")
    except OSError as error:
        raise SourceError(f"{directory} cannot be read: {error}") from error
    by_stem = {path.with_suffix(""): path for path in found}
    if len(by_stem) < len(found):
        twice = next(path for path in found if by_stem[path.with_suffix("")] != path)
        raise SourceError(f"{twice} and {by_stem[twice.with_suffix('')].name} look like the same rows twice: keep one")
    if not found and not SHAPES[table].optional_table:
        raise SourceError(
            f"{directory} has no {table}.parquet or {table}.csv (several files may stand in {directory / table}/)"
        )
    return tuple(found)


def _read_csv(connection: duckdb.DuckDBPyConnection, path: Path, header: CSVHeader) -> duckdb.DuckDBPyRelation:
    """A CSV file as text. Nothing is guessed: DuckDB's sniffer skips lines and drops quotes to make a file fit."""
    text = connection.read_csv(
        str(path),
        header=True,
        auto_detect=False,
        columns={f"c{i}": "VARCHAR" for i in range(len(header.columns))},
        delimiter=header.delimiter,
        quotechar='"',
        escapechar='"',
        # With padding, DuckDB reads everything after an unclosed quote as nothing at all.
        null_padding=False,
        strict_mode=True,
        hive_partitioning=False,
    )
    return text.project(compose("*, row_number() OVER () - 1 AS file_row_number"))


def _as_text(relation: duckdb.DuckDBPyRelation, stored: str | None, name: str) -> Fragment:
    """Projection of one column to trimmed text, null where it is empty.

    pandas writes an integer column that has a gap as float: a whole number loses its `.0` again, so that ids match
    across files, and NaN is null.
    """
    target = table(name)
    if stored is None:
        return compose("CAST(NULL AS VARCHAR) AS {target}", target=target)
    value = Fragment('"' + stored.replace('"', '""') + '"')
    kind = str(relation.types[relation.columns.index(stored)])
    if kind in _NEVER_BLANK:
        return compose("CAST({value} AS VARCHAR) AS {target}", value=value, target=target)
    if kind in {"FLOAT", "DOUBLE"}:
        value = compose(
            "CASE WHEN isnan({value}) THEN NULL WHEN {value} = trunc({value}) AND abs({value}) < 9007199254740992 "
            "THEN CAST(CAST({value} AS BIGINT) AS VARCHAR) ELSE CAST({value} AS VARCHAR) END",
            value=value,
        )
    # TRIM without a list of characters takes every Unicode blank and is five times as fast as with one.
    return compose("NULLIF(TRIM(CAST({value} AS VARCHAR)), '') AS {target}", value=value, target=target)


def _stored_columns(path: Path, names: list[str], shape: SourceShape) -> dict[str, int]:
    """Position of each of the shape's columns among `names`; case and surrounding blanks do not matter."""
    positions: dict[str, int] = {}
    for position, name in enumerate(names):
        known = name.strip().lower()
        if known in positions and known in shape.columns:
            raise SourceError(f"{path} has the column {known} twice: keep one")
        positions.setdefault(known, position)
    if missing := [name for name in shape.required if name not in positions]:
        raise SourceError(
            f"{path} has no column {', '.join(missing)}; expected {', '.join(shape.columns)}; found {', '.join(names)}"
        )
    return {name: positions[name] for name in shape.columns if name in positions}


def _copy_file(
    connection: duckdb.DuckDBPyConnection, directory: Path, path: Path, source: SourceTable
) -> tuple[str, ...]:
    """Append one file to the session's copy of its table; returns the columns that were left out."""
    shape = SHAPES[source]
    if path.suffix.lower() == ".csv":
        header = read_header(path, shape.required)
        names, relation = list(header.columns), _read_csv(connection, path, header)
    else:
        relation = connection.read_parquet(
            str(path), file_row_number=True, binary_as_string=True, hive_partitioning=False
        )
        names = [name for name in relation.columns if name != _ROW_NUMBER]
    positions = _stored_columns(path, names, shape)
    stored = {name: relation.columns[position] for name, position in positions.items()}
    texts = [_as_text(relation, stored.get(name), name) for name in shape.columns]
    projected = relation.project(join(", ", [*texts, table(_ROW_NUMBER)]))
    try:
        connection.register("source_file_rows", projected)
        insert = compose(
            "INSERT INTO {copy} SELECT * EXCLUDE (file_row_number), $name, file_row_number FROM source_file_rows",
            copy=table(f"source_{source}"),
        )
        connection.execute(insert, {"name": path.relative_to(directory).as_posix()})
    finally:
        connection.unregister("source_file_rows")
    return tuple(name for position, name in enumerate(names) if position not in positions.values())


def _told(error: Exception) -> str:
    """What is wrong and where: without advice about options, and without the line, which may name a fan."""
    told = str(error).partition("Possible")[0].strip()
    where, line, rest = told.partition("\nOriginal Line")
    return f"{where}: {rest.splitlines()[-1]}" if line else told[:500]


def attach(connection: duckdb.DuckDBPyConnection, directory: Path, source: SourceTable) -> AttachedTable:
    """Copy a source table's columns, as text, to the temporary table `source_<table>`.

    Each row also has `source_file` (path below the directory) and `source_row` (from 0, without the header). A
    copy, because a source that changes or vanishes in mid-run must not give two statements of one run different
    rows. A CSV row that is shorter or longer than the header refuses the whole file, by line: which value is
    missing cannot be known.

    Raises:
        SourceError: A file is missing, empty, unreadable, malformed or lacks a column.
    """
    paths, copy = find_files(directory, source), table(f"source_{source}")
    texts = join(", ", (compose("{name} VARCHAR", name=table(n)) for n in (*SHAPES[source].columns, "source_file")))
    create = compose("CREATE OR REPLACE TEMP TABLE {copy} ({texts}, source_row BIGINT)", copy=copy, texts=texts)
    connection.execute(create)
    ignored = set[str]()
    for path in paths:
        try:
            if path.stat().st_size == 0:
                raise SourceError(f"{path} is empty (0 bytes); expected {path.suffix[1:]} data with a header")
            ignored.update(_copy_file(connection, directory, path, source))
        except (duckdb.Error, OSError, UnicodeDecodeError) as error:
            raise SourceError(
                f"{path} cannot be read as {path.suffix[1:]}: {_told(error)}\n"
                "Mend the file, or write it again as UTF-8 CSV (RFC 4180, one kind of line ending) or Parquet."
            ) from error
    probe = compose("SELECT 1 FROM {copy} LIMIT 1", copy=copy)
    if not SHAPES[source].optional_table and not connection.execute(probe).fetchall():
        raise SourceError(f"{', '.join(map(str, paths))}: no rows; expected at least one row of {source}")
    return AttachedTable(tuple(map(str, paths)), tuple(sorted(ignored)))
