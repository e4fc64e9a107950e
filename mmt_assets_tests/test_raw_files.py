"""Source files: what is wrong with them ends the step with a message that says so; their format does not matter."""

from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd
import pytest

from mmt_assets.contracts import CONCERTS, MAKES, TICKET_ORDERS, TICKET_REFUNDS
from mmt_assets.warehouse import source

if TYPE_CHECKING:
    from mmt_assets_tests.conftest import Pipeline, PipelineFactory

RAW = (CONCERTS, TICKET_ORDERS, TICKET_REFUNDS, MAKES)
ALL_RAW = tuple(f"raw/{contract.name}" for contract in RAW)


def test_wrong_files_fail_the_step_and_are_named_with_what_was_expected(pipeline: "Pipeline") -> None:
    def failure(*told: str) -> None:
        message = pipeline.failure(pipeline.load("2026-01-02", assets=["raw/concerts"], fails=True))
        assert [part for part in told if part not in message] == []

    pipeline.put(concerts=None)
    failure(str(pipeline.source), "concerts.parquet or concerts.csv")

    pipeline.put_file(
        "concerts.csv", pd.DataFrame({"concert_id": ["c1"], "show": ["2026-06-01"], "status": ["on_sale"]})
    )
    failure("concerts.csv", "no column", "artist, city, country, show_at", "found concert_id, show, status")

    (pipeline.source / "concerts.csv").write_text("")
    failure("concerts.csv is empty", "expected")

    pipeline.put(concerts=[])
    failure("concerts.parquet", "no rows")

    for path in pipeline.source.iterdir():
        path.unlink()
    pipeline.source.rmdir()
    failure(str(pipeline.source), "not a directory", "MMT_SOURCE")
    assert pipeline.instance.get_latest_materialization_event(dg.AssetKey(["raw", "concerts"])) is None


@pytest.fixture
def two_concerts(pipeline: "Pipeline") -> dict[str, list[dict[str, Any]]]:
    order = pipeline.order
    return {
        "concerts": [pipeline.concert(), pipeline.concert("c2", city="Seoul, 서울", venue=None, capacity=None)],
        "ticket_orders": [
            order("a", unit_price="49.5"),
            order("b", "2026-01-03 03:00:00", concert_id="c2", currency="KRW", unit_price="99000"),
            order("c", status="refunded", status_at="2026-01-03 05:00:00"),
        ],
        "makes": [pipeline.make(), pipeline.make("fan, 2", "2026-01-01 10:00:00", city="Seoul, 서울")],
    }


def test_csv_parquet_and_several_files_give_the_same_rows(
    new_pipeline: "PipelineFactory", two_concerts: dict[str, list[dict[str, Any]]]
) -> None:
    parquet, csv, typed, parts = (new_pipeline() for _ in range(4))
    parquet.put_all(two_concerts)
    csv.put_all(two_concerts, ".csv")
    times = {"ordered_at", "status_at", "made_at", "show_at", "on_sale_at"}
    for name, rows in two_concerts.items():
        frame = pd.DataFrame(rows)
        frame = frame.astype(dict.fromkeys(times & {*frame.columns}, "datetime64[us, UTC]"))
        if "unit_price" in frame:
            frame["unit_price"] = frame["unit_price"].astype(float)
        typed.put_all({name: None})
        typed.put_file(f"{name}.parquet", frame)
        parts.put_all({name: None})
        parts.put_file(f"{name}/1.csv", rows[:1])
        parts.put_file(f"{name}/2.parquet", rows[1:])
    for each in (parquet, csv, typed, parts):
        each.load("2026-01-01", "2026-01-04", assets=ALL_RAW)
        assert each.rejected() == []
    for contract in RAW:
        expected = parquet.table(contract)
        assert expected
        assert [each.table(contract) == expected for each in (csv, typed, parts)] == [True, True, True], contract.name


def test_unknown_columns_are_ignored_and_told(pipeline: "Pipeline") -> None:
    pipeline.put_file("concerts.parquet", [pipeline.concert() | {"promoter": "x"}])
    result = pipeline.load("2026-01-02", assets=["raw/concerts"])
    assert pipeline.metadata(result, "raw/concerts")["ignored_columns"] == ["promoter"]


def test_a_source_that_vanishes_while_it_is_read_leaves_the_rows_of_before_and_is_read_again_when_it_is_back(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.put(ticket_orders=None)
    parts = [pipeline.source / f"ticket_orders_{number}.parquet" for number in (1, 2)]
    for number, part in enumerate(parts):
        pipeline.put_file(part.name, [pipeline.order(f"o{number}")])
    pipeline.load("2026-01-01", "2026-01-02")
    before = pipeline.table(TICKET_ORDERS)
    assert len(before) == 2
    aside = pipeline.source / "aside"
    copy = source._copy_file

    def copy_and_lose_the_rest(*given: Any) -> Any:
        # Between two files: a moment that no test could hit from outside.
        copied = copy(*given)
        if parts[1].exists():
            parts[1].rename(aside)
        return copied

    with monkeypatch.context() as vanishing:
        vanishing.setattr(source, "_copy_file", copy_and_lose_the_rest)
        failed = pipeline.load("2026-01-01", "2026-01-02", assets=["raw/ticket_orders"], fails=True)
    assert f"{parts[1]} cannot be read" in pipeline.failure(failed)
    assert pipeline.table(TICKET_ORDERS) == before
    aside.rename(parts[1])
    pipeline.load("2026-01-01", "2026-01-02")
    assert pipeline.table(TICKET_ORDERS) == before
