"""A source dataset in BigQuery, read as text so that bad values become rejected rows."""

import re
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Self

from google.api_core.exceptions import Forbidden, NotFound
from google.cloud import bigquery

from mmt_assets.warehouse.compose import Fragment, compose, join, table
from mmt_assets.warehouse.errors import SourceError
from mmt_assets.warehouse.protocol import SourceTable, Statement
from mmt_assets.warehouse.source import SHAPES

PREFIX = "bigquery:"
_PLACE = re.compile(r"bigquery:(?P<project>[a-z0-9:.-]*[a-z0-9-])\.(?P<dataset>[A-Za-z0-9_]+)")
# A row's place in the source, where the source itself says so: otherwise the table, and a number made from the row.
_PLACE_COLUMNS = ("source_file", "source_row")
_NOT_TEXT = {"RECORD", "STRUCT", "JSON", "GEOGRAPHY"}


@cache
def _blanks() -> str:
    """All Unicode blanks: what DuckDB's TRIM takes away. GoogleSQL's would take line ends too."""
    return "".join(c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) == "Zs")


@dataclass(frozen=True)
class FoundTable:
    """A source table as it was found.

    Attributes:
        name: Source table.
        reference: `project.dataset.table`; empty when an optional table is absent.
        types: API type of each column that is read, under its stored name.
        ignored_columns: Columns that are not read.
    """

    name: SourceTable
    reference: str
    types: dict[str, str]
    ignored_columns: tuple[str, ...]

    def copy_as_text(self) -> Statement:
        """Query: the table's columns as trimmed text, null where empty, with each row's place in the source."""
        stored = {name.lower(): name for name in self.types}
        texts = [self._as_text(name, stored.get(name)) for name in SHAPES[self.name].columns]
        if not self.reference:
            nothing = compose("SELECT {texts}, '' AS source_file, 0 AS source_row LIMIT 0", texts=join(", ", texts))
            return Statement(nothing)
        parameters = {"blanks": _blanks(), "place": self.reference}
        if all(name in stored for name in _PLACE_COLUMNS):
            place = compose("CAST(source_file AS STRING) AS source_file, CAST(source_row AS INT64) AS source_row")
            parameters.pop("place")
        else:
            # Rows have no order here. A number made from the row stays the same whichever rows come after it; equal
            # rows are counted.
            place = compose(
                "@place AS source_file, FARM_FINGERPRINT(CONCAT(TO_JSON_STRING(rows_read), '#', CAST(ROW_NUMBER() "
                "OVER (PARTITION BY TO_JSON_STRING(rows_read)) AS STRING))) AS source_row"
            )
        sql = compose(
            "SELECT {texts}, {place} FROM {reference} AS rows_read",
            texts=join(", ", texts),
            place=place,
            reference=Fragment(f"`{self.reference}`"),
        )
        return Statement(sql, parameters, f"source {self.reference}")

    def _as_text(self, name: str, stored: str | None) -> Fragment:
        target = table(name)
        if stored is None or not self.reference:
            return compose("CAST(NULL AS STRING) AS {target}", target=target)
        value = Fragment(f"rows_read.`{stored}`")
        if self.types[stored] in {"FLOAT", "FLOAT64"}:
            # An integer column that has a gap became float on its way here: ids must match all the same.
            value = compose(
                "CASE WHEN IS_NAN({value}) THEN NULL WHEN {value} = TRUNC({value}) AND ABS({value}) < 9007199254740992 "
                "THEN CAST(CAST({value} AS INT64) AS STRING) ELSE CAST({value} AS STRING) END",
                value=value,
            )
        return compose("NULLIF(TRIM(CAST({value} AS STRING), @blanks), '') AS {target}", value=value, target=target)

    def probe(self) -> Statement:
        """Query: one row when the copy holds any."""
        return Statement(compose("SELECT MAX(source_row) AS any_row FROM {copy}", copy=table(f"source.{self.name}")))

    def require_rows(self, has_rows: Callable[[], bool]) -> None:
        """Refuse an empty table that must not be.

        Raises:
            SourceError: It is empty.
        """
        if not SHAPES[self.name].optional_table and not has_rows():
            raise SourceError(f"{self.reference}: no rows; expected at least one row of {self.name}")


@dataclass(frozen=True)
class SourceDataset:
    """Where the source tables are.

    Attributes:
        project: Google Cloud project.
        dataset: Dataset.
    """

    project: str
    dataset: str

    @classmethod
    def parse(cls, location: str | None) -> Self:
        """Read `bigquery:project.dataset`.

        Raises:
            SourceError: It is something else.
        """
        match = _PLACE.fullmatch(location or "")
        if match is None:
            raise SourceError(
                f"MMT_SOURCE is {location!r}: with MMT_ENV=gcp the source is bigquery:PROJECT.DATASET, a dataset with "
                "the tables concerts, ticket_orders and, if there are any, makes"
            )
        return cls(match["project"], match["dataset"])

    def find(self, client: bigquery.Client, name: SourceTable) -> FoundTable:
        """Look at a source table.

        Raises:
            SourceError: It is missing, may not be read, or lacks a column.
        """
        reference, shape = f"{self.project}.{self.dataset}.{name}", SHAPES[name]
        try:
            fields = client.get_table(reference).schema
        except NotFound as error:
            if shape.optional_table:
                return FoundTable(name, "", {}, ())
            raise SourceError(
                f"source table {reference} does not exist; expected {', '.join(shape.columns)}"
            ) from error
        except Forbidden as error:
            raise SourceError(f"source table {reference} may not be read: {error.message}") from error
        known = {*shape.columns, *_PLACE_COLUMNS}
        read = {one.name: one for one in fields if one.name.lower() in known}
        if missing := [name for name in shape.required if name not in {stored.lower() for stored in read}]:
            found = ", ".join(one.name for one in fields)
            raise SourceError(f"{reference} has no column {', '.join(missing)}; found {found}")
        for one in read.values():
            if one.mode == "REPEATED" or one.field_type in _NOT_TEXT:
                raise SourceError(f"{reference}: column {one.name} is {one.mode} {one.field_type}, expected one value")
        types = {stored: one.field_type for stored, one in read.items()}
        return FoundTable(name, reference, types, tuple(sorted(one.name for one in fields if one.name not in read)))
