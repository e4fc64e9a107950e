"""Hostile source directories: every row is read as it stands, or the file is named and nothing is read."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmt_assets.warehouse import DuckDBWarehouse, SourceError, Statement
from mmt_assets.warehouse.compose import compose
from mmt_assets.warehouse.compose import table as compose_table

HEADER = "fan_id,artist,city,country,made_at"
ROW = "f1,IU,Seoul,KR,2026-01-05 10:00:00"
ORDER_HEADER = "order_id,concert_id,ordered_at,quantity,unit_price,currency,status"
ORDER = "o1,c1,2026-01-05,2,10.5,KRW,paid"


def read(directory: Path, table: str = "makes") -> pd.DataFrame:
    warehouse = DuckDBWarehouse(directory.parent / "warehouse.duckdb")
    rows = compose("SELECT * FROM {name} ORDER BY source_file, source_row", name=compose_table(f"source.{table}"))
    with warehouse.open(source=str(directory)) as session:
        return session.query(Statement(rows)).astype(object).replace({np.nan: None})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    return directory


def save(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "artist"),
    [
        (f'{HEADER}\nf1,"Two\nlines, ""quoted""",Seoul,KR,2026\n', 'Two\nlines, "quoted"'),
        (f"\ufeff{HEADER}\n{ROW}\n", "IU"),
        (f"{HEADER}\r\n{ROW}\r\n", "IU"),
        (f"{HEADER}\n{ROW}", "IU"),
        (f"{HEADER}\n\n{ROW}\n\n", "IU"),
        (f"{HEADER};extra\n{ROW};x\n".replace(",", ";"), "IU"),
        (f"{HEADER}\n{ROW}\n".replace(",", "\t"), "IU"),
        ("FAN_ID, Artist ,City,COUNTRY,Made_At\nf1,  IU ,Seoul,KR,2026\n", "IU"),
        ('made_at,"extra, one",artist,fan_id,country,city\n2026,x,IU,f1,KR,Seoul\n', "IU"),
        (f"{HEADER}\n#f1,IU,Seoul,KR,2026\n", "IU"),
        (f'{HEADER}\nf1,O\'Brien \\ "x",Seoul,KR,2026\n', 'O\'Brien \\ "x"'),
        (f"{HEADER}\nf1,\U0001f3b8서울\x00,Seoul,KR,2026\n", "\U0001f3b8서울\x00"),
        (f"{HEADER}\nf1,NA,Seoul,KR,2026\n", "NA"),
        (f"{HEADER}\nf1,,Seoul,KR,2026\n", None),
        (f'{HEADER}\nf1," ",Seoul,KR,2026\n', None),
    ],
)
def test_a_csv_file_is_read_as_it_stands(source: Path, text: str, artist: str | None) -> None:
    save(source / "makes.csv", text)
    found = read(source)
    assert found["artist"].tolist() == [artist]
    assert found[["source_file", "source_row"]].to_numpy().tolist() == [["makes.csv", 0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("\n\n", "does not begin with a header"),
        (f"{HEADER}\n{ROW}\n{ROW},longer\n", "Line: 3"),
        (f"{HEADER}\n{ROW}\nf2,IU\n{ROW}\n", "Line: 3"),
        (f'{HEADER}\nf1,"never closed,Seoul,KR,2026\n' + f"{ROW}\n" * 5000, "Line: 2.*unterminated quote"),
        (f'{HEADER}\nf1,"IU"x,Seoul,KR,2026\n', "Line: 2"),
        (f"{HEADER}\r\n{ROW}\n{ROW}\r\n", "one kind of line ending"),
        (f"{HEADER}\nf1,Beyonc\u00e9,Seoul,KR,2026\n".encode("latin-1"), "can't decode byte"),
        (f"{HEADER}\n{ROW}\n".encode("utf-16"), "UTF-8"),
        ("Report of 2026\n" + f"{HEADER}\n{ROW}\n", "no column fan_id.*found Report of 2026"),
        (f"{HEADER},Artist\n{ROW},x\n", "column artist twice"),
        (f"{HEADER.replace('artist', 'act')}\n{ROW}\n", "no column artist; expected .* found fan_id, act"),
    ],
)
def test_a_malformed_csv_file_is_refused_by_name(source: Path, text: str | bytes, expected: str) -> None:
    path = save(source / "makes.csv", text)
    with pytest.raises(SourceError, match=f"(?s){expected}") as refused:
        read(source)
    assert str(path) in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert "Seoul" not in str(refused.value), "a source row may name a fan"


def test_a_header_alone_is_no_row_for_makes_and_an_error_for_orders(source: Path) -> None:
    save(source / "makes.csv", HEADER)
    save(source / "ticket_orders.csv", ORDER_HEADER)
    assert read(source).empty
    with pytest.raises(SourceError, match=r"ticket_orders\.csv: no rows"):
        read(source, "ticket_orders")


def test_what_may_be_absent_is_null_or_empty(source: Path) -> None:
    save(source / "ticket_orders.csv", f"{ORDER_HEADER}\n{ORDER}\n")
    assert read(source, "ticket_orders")["status_at"].tolist() == [None]
    assert read(source).empty
    with pytest.raises(SourceError, match=r"has no concerts\.parquet or concerts\.csv"):
        read(source, "concerts")


PARQUET_VALUES = [
    (pa.array([12345.0, None]), ["12345", None]),
    (pa.array([np.nan, 0.5]), [None, "0.5"]),
    (pa.array([2**63 - 1, None]), ["9223372036854775807", None]),
    (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
    (pa.array([1e300]), ["1e+300"]),
    (pa.array([Decimal("10.50")]), ["10.50"]),
    (pa.array(["IU", None]).dictionary_encode(), ["IU", None]),
    (pa.array(["서울".encode()], pa.binary()), ["서울"]),
    (pa.array([date(2026, 1, 5)]), ["2026-01-05"]),
    (pa.array([datetime(2026, 1, 5, 10, tzinfo=UTC)], pa.timestamp("us", "Asia/Seoul")), ["2026-01-05 10:00:00+00"]),
    (pa.array([datetime(2026, 1, 5, 10, tzinfo=UTC)], pa.timestamp("ns", "UTC")), ["2026-01-05 10:00:00+00"]),
    (pa.array([1767607200000000000], pa.timestamp("ns")), ["2026-01-05 10:00:00"]),
    (pa.array([1767607200], pa.timestamp("s")), ["2026-01-05 10:00:00"]),
    (pa.nulls(2), [None, None]),
]


@pytest.mark.parametrize(("values", "expected"), PARQUET_VALUES, ids=[str(v.type) for v, _ in PARQUET_VALUES])
def test_parquet_values_become_the_text_that_the_sql_can_read(
    source: Path, values: pa.Array, expected: list[str | None]
) -> None:
    columns = dict.fromkeys(["fan_id", "city", "Country", "made_at"], pa.array(["x"] * len(values)))
    nested = pa.array([{"deep": [1, 2]}] * len(values))
    pq.write_table(pa.table({"artist": values, **columns, 'nested "extra"': nested}), source / "makes.parquet")
    assert read(source)["artist"].tolist() == expected


def test_damaged_parquet_is_refused_by_name(source: Path) -> None:
    save(source / "makes.parquet", b"PAR1 no parquet PAR1")
    with pytest.raises(SourceError, match=r"makes\.parquet cannot be read as parquet"):
        read(source)
    pq.write_table(pa.table({name: ["x"] * 50_000 for name in HEADER.split(",")}), source / "makes.parquet")
    whole = (source / "makes.parquet").read_bytes()
    save(source / "makes.parquet", whole[:100] + b"\xff" * 200 + whole[300:])
    with pytest.raises(SourceError, match=r"makes\.parquet cannot be read as parquet"):
        read(source)


def test_several_files_and_folders_are_one_table(source: Path) -> None:
    for name in ("makes.csv", "makes_2026.csv", "makes-part-0001.csv", "makes/country=KR/x.csv", "makes/y.CSV"):
        save(source / name, f"{HEADER}\n{ROW}\n{ROW}\n")
    save(source / "makes/.hidden.csv", "rubbish")
    save(source / "makes/notes.txt", "rubbish")
    found = read(source)
    names = ["makes-part-0001.csv", "makes.csv", "makes/country=KR/x.csv", "makes/y.CSV", "makes_2026.csv"]
    expected = [[name, row] for name in names for row in (0, 1)]
    assert found[["source_file", "source_row"]].to_numpy().tolist() == expected
    assert set(found["country"]) == {"KR"}


@pytest.mark.parametrize("name", ["makes_backup.csv", "makes-old.parquet", "makes copy.csv", "makes2.csv"])
def test_a_file_that_may_be_a_copy_is_refused(source: Path, name: str) -> None:
    save(source / "makes.csv", f"{HEADER}\n{ROW}\n")
    save(source / name, f"{HEADER}\n{ROW}\n")
    with pytest.raises(SourceError, match="may or may not be part of makes"):
        read(source)


def test_the_same_rows_in_two_formats_and_a_broken_link_are_refused(source: Path) -> None:
    save(source / "makes.csv", f"{HEADER}\n{ROW}\n")
    (source / "makes_1.csv").symlink_to(source / "nowhere.csv")
    with pytest.raises(SourceError, match="broken link"):
        read(source)
    (source / "makes_1.csv").unlink()
    pq.write_table(pa.table({"fan_id": ["x"]}), source / "makes.parquet")
    with pytest.raises(SourceError, match="the same rows twice"):
        read(source)


def test_a_directory_name_is_never_a_pattern_or_sql(tmp_path: Path) -> None:
    strange = tmp_path / '[a]* it\'s "q"; ?=1 {b}'
    save(strange / "makes.csv", f"{HEADER}\n{ROW}\n")
    save(tmp_path / 'a it\'s "q"; x=1 b' / "makes.csv", f"{HEADER}\n{ROW}\n{ROW}\n")
    pq.write_table(pa.table({name: ["x"] for name in HEADER.split(",")}), strange / "makes_1.parquet")
    linked = tmp_path / "linked"
    linked.symlink_to(strange)
    assert len(read(strange)) == len(read(linked)) == 2


def test_a_run_reads_one_version_of_its_source(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(source / "makes.csv", f"{HEADER}\n{ROW}\n")
    with DuckDBWarehouse(source.parent / "warehouse.duckdb").open(source=str(source)) as session:
        rows = Statement("SELECT COUNT(*) FROM source.makes")
        assert session.scalar(rows) == 1
        path.unlink()
        assert session.scalar(rows) == 1
    monkeypatch.setattr("mmt_assets.warehouse.source.find_files", lambda *_: (path,))
    with pytest.raises(SourceError, match=r"makes\.csv cannot be read"):
        read(source)


def test_a_missing_or_unreadable_directory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="nowhere is not a directory"):
        read(tmp_path / "nowhere")

    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SourceError, match="Permission denied"):
        read(tmp_path)


def test_ignored_columns_are_told(source: Path) -> None:
    save(source / "makes.csv", f"{HEADER},mood,Mood2\n{ROW},x,y\n")
    with DuckDBWarehouse(source.parent / "warehouse.duckdb").open(source=str(source)) as session:
        assert session.attach("makes").ignored_columns == ("Mood2", "mood")
