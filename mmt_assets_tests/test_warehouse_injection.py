"""Values are data wherever they go, and SQL is put together in one place only."""

import ast
import csv
import re
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mmt_assets
from mmt_assets.contracts import Column, TableContract
from mmt_assets.warehouse import (
    DuckDBWarehouse,
    Fence,
    InsertMissing,
    ReplaceNewer,
    ReplaceSlice,
    Slice,
    Statement,
    Warehouse,
)
from mmt_assets.warehouse.compose import column, table

NOTES = TableContract(
    schema="raw",
    name="notes",
    description="Notes",
    columns=(Column("owner", "STRING", "Owner"), Column("number", "INT64", "Number")),
    key=("owner", "number"),
)
FENCE = Fence("run", datetime(2026, 1, 1, tzinfo=UTC))
HOSTILE = [
    "it's", '"double"', "back\\slash", "\\') OR TRUE -- ", "'); DROP TABLE raw.notes; --", "/* open", "*/ close",
    "a;b", "two\nlines", "carriage\rreturn", "\U0001f3b8서울", "NUL\x00inside", "$slice_group", "@slice_group",
    "{name}",
    "%s", "`tick`", "", " ", "NULL", "\uffff", "\u202eright to left", "e\u0301",
]  # fmt: skip
PIECES = st.sampled_from([*HOSTILE, "'", '"', "\\", "--", ";", "\n", "\x00", "OR 1=1"])
TEXTS = st.one_of(PIECES, st.lists(PIECES, min_size=2, max_size=5).map("".join), st.text(max_size=30)).filter(
    lambda text: not any(0xD800 <= ord(character) <= 0xDFFF for character in text)
)
FUZZ = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def notes(*owners: str) -> pd.DataFrame:
    return pd.DataFrame({"owner": list(owners), "number": range(len(owners))}).astype({"owner": object})


def test_any_text_round_trips_as_data_and_cuts_only_its_own_group(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    with warehouse.open() as session:

        @FUZZ
        @given(text=TEXTS)
        def round_trip(text: str) -> None:
            bystander = text + "!"
            session.write([ReplaceSlice(NOTES, Slice(), notes(text, bystander))], fence=FENCE)
            chosen = Statement("SELECT owner FROM raw.notes WHERE owner IN UNNEST(@texts)", {"texts": (text,)})
            assert session.query(chosen)["owner"].tolist() == [text]
            group = Slice(group=("owner", text))
            session.write([ReplaceSlice(NOTES, group, notes(text))], fence=FENCE)
            session.write([InsertMissing(NOTES, notes(text))], fence=FENCE)
            session.write([ReplaceNewer(NOTES, notes(text), "owner", ("number",))], fence=FENCE)
            session.write([ReplaceSlice(NOTES, group, notes())], fence=FENCE)
            assert session.query(Statement("SELECT owner FROM raw.notes"))["owner"].tolist() == [bystander]

        round_trip()


def test_hostile_texts_are_data_in_every_engine(warehouse: Warehouse) -> None:
    with warehouse.open() as session:
        texts: list[str] = [*HOSTILE]

        @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
        @given(text=TEXTS)
        def collect(text: str) -> None:
            if text not in texts:
                texts.append(text)

        collect()
        session.write([ReplaceSlice(NOTES, Slice(), notes(*texts))], fence=FENCE)
        everything = Statement("SELECT owner FROM raw.notes ORDER BY number")
        assert session.query(everything)["owner"].tolist() == texts
        chosen = Statement("SELECT owner FROM raw.notes WHERE owner IN UNNEST(@texts)", {"texts": tuple(HOSTILE)})
        assert sorted(session.query(chosen)["owner"]) == sorted(HOSTILE)
        worst = "\\') OR TRUE -- "
        session.write([ReplaceSlice(NOTES, Slice(group=("owner", worst)), notes())], fence=FENCE)
        assert session.query(everything)["owner"].tolist() == [text for text in texts if text != worst]


def test_any_text_round_trips_through_a_source_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    # DuckDB refuses a file that mixes line endings outside quotes only; within quotes everything is data.
    with (source / "makes.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["fan_id", "artist", "city", "country", "made_at"])
        writer.writerows([text, text, text, text, text] for text in HOSTILE)
    pd.DataFrame(dict.fromkeys(["fan_id", "artist", "city", "country", "made_at"], HOSTILE)).to_parquet(
        source / "makes_1.parquet"
    )
    with DuckDBWarehouse(tmp_path / "warehouse.duckdb").open(source=str(source)) as session:
        found = session.query(Statement("SELECT artist, source_file FROM source.makes ORDER BY source_row"))
    expected = [text.strip(" ") or None for text in HOSTILE]
    for _, rows in found.groupby("source_file"):
        assert [None if pd.isna(text) else text for text in rows["artist"]] == expected


@pytest.mark.parametrize("name", ["a b", "a`b", 'a"b', "a;b", "", "1a", "a-b", "naïve", "a\n"])
def test_only_plain_names_are_composed(name: str) -> None:
    for compose_name in (column, table):
        with pytest.raises(ValueError, match="is no SQL name"):
            compose_name(name)


PACKAGE = Path(mmt_assets.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
SQL = re.compile(
    r"\bSELECT\s|\bINSERT\s+INTO\b|\bDELETE\s+FROM\b|\bUPDATE\s+\S+\s+SET\b|\bMERGE\s+INTO\b"
    r"|\bCREATE\s+(OR|TEMP|TABLE)\b|\bDROP\s+(TABLE|SCHEMA)\b|\bALTER\s+TABLE\b|\bWHERE\s|\bGROUP\s+BY\b|\bORDER\s+BY\b|\bBETWEEN\s"
)
# What may stand inside SQL text: a contract's own name, a statement's text, what the composing module returns.
COMPOSING = {"column", "columns", "table", "parameter", "join", "compose"}


def is_composed(value: ast.expr) -> bool:
    called = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in COMPOSING
    return called or (isinstance(value, ast.Attribute) and value.attr in {"table", "sql"})


def literals(node: ast.AST) -> str:
    return " ".join(n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def unsafe_sql(tree: ast.AST) -> list[int]:
    """Lines on which SQL text is put together from something else than literals and composed names."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=values):
                text = " ".join(v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str))
                parts = [v.value for v in values if isinstance(v, ast.FormattedValue)]
            case ast.BinOp(left=left, op=ast.Add() | ast.Mod(), right=right):
                text = " ".join(
                    n.value for n in (left, right) if isinstance(n, ast.Constant) and isinstance(n.value, str)
                )
                parts = [n for n in (left, right) if not isinstance(n, ast.Constant)]
            case ast.Call(func=ast.Attribute(value=receiver, attr="format" | "format_map" | "join" | "replace")):
                text, parts = literals(receiver), [*node.args, *(keyword.value for keyword in node.keywords)]
            case ast.Call(func=ast.Name(id="compose"), args=[template, *_]):
                # A template is literal; a name may hold one, for the type checker watches over it.
                text = "SELECT "
                parts = [n for n in ast.walk(template) if isinstance(n, ast.Call | ast.FormattedValue)]
            case _:
                continue
        # A message may tell the reader which query to run.
        if SQL.search(text) and "python -m " not in text and not all(map(is_composed, parts)):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_sql_is_never_put_together_from_values(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert unsafe_sql(tree) == [], f"{path}: bind values as parameters, compose names with warehouse.compose"
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "Fragment" not in names or path.parent.name == "warehouse", "only the warehouse vouches for text as SQL"


@pytest.mark.parametrize(
    "code",
    [
        'f"SELECT * FROM t WHERE id = {concert}"',
        'f"DELETE FROM {contract.table} WHERE {condition}"',
        '"SELECT * FROM t WHERE id = " + concert',
        '"SELECT * FROM t WHERE id = %s" % concert',
        '"SELECT * FROM {}".format(name)',
        'compose(f"x = {name}")',
    ],
)
def test_the_check_sees_sql_made_from_values(code: str) -> None:
    assert unsafe_sql(ast.parse(code)) == [1]


@pytest.mark.parametrize(
    "code", ['f"SELECT * FROM {contract.table}"', 'f"read {path} from {source}"', 'compose("SELECT {x}", x=column(x))']
)
def test_the_check_lets_names_and_prose_pass(code: str) -> None:
    assert unsafe_sql(ast.parse(code)) == []
