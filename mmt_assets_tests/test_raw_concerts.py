"""Concerts: versions, the day of the show, what is refused."""

from typing import TYPE_CHECKING

from mmt_assets.contracts import CONCERTS

if TYPE_CHECKING:
    from mmt_assets_tests.conftest import Pipeline, PipelineFactory

ONLY = ("raw/concerts",)
VERSIONS = "SELECT concert_id, version, known_from_date, capacity FROM raw.concerts ORDER BY 1, 2"
BEGINNING = "1900-01-01"


def test_versions_hold_from_the_beginning_then_from_the_loaded_day_and_reruns_reuse_them(pipeline: "Pipeline") -> None:
    concert, order = pipeline.concert, pipeline.order
    pipeline.set(last_day="2026-01-04")
    pipeline.load("2026-01-04", assets=ONLY)
    assert pipeline.rows(VERSIONS) == [("c1", 1, BEGINNING, 3500)]

    pipeline.set(last_day="2026-01-07")
    pipeline.put(
        concerts=[
            concert(capacity=4000),
            concert("ahead", on_sale_at="2026-02-01"),
            concert("on sale", on_sale_at="2026-01-05 15:00:00"),
            concert("ordered", on_sale_at=None),
            concert("neither", on_sale_at=None),
        ],
        ticket_orders=[order(), order("o2", "2026-01-03 15:00:00", concert_id="ordered")],
    )
    expected = [
        ("ahead", 1, "2026-01-07", 3500),
        ("c1", 1, BEGINNING, 3500),
        ("c1", 2, "2026-01-07", 4000),
        ("neither", 1, "2026-01-07", 3500),
        ("on sale", 1, "2026-01-06", 3500),
        ("ordered", 1, "2026-01-04", 3500),
    ]
    result = pipeline.load("2026-01-07", assets=ONLY)
    assert pipeline.rows(VERSIONS) == expected
    assert pipeline.metadata(result, "raw/concerts")["rows_added"] == 5

    pipeline.set(last_day="2026-01-09")
    result = pipeline.load("2026-01-02", "2026-01-09", assets=ONLY)
    assert pipeline.rows(VERSIONS) == expected
    told = pipeline.metadata(result, "raw/concerts")
    assert (told["rows_added"], told["dagster/row_count"]) == (0, 5)


def test_orders_are_read_only_where_a_new_concert_asks_for_its_first_one(pipeline: "Pipeline") -> None:
    pipeline.set(last_day="2026-01-04")
    orders = [pipeline.order()]
    pipeline.put(ticket_orders=None)
    pipeline.load("2026-01-04", assets=ONLY)

    pipeline.set(last_day="2026-01-05")
    pipeline.put(concerts=[pipeline.concert(capacity=4000)])
    pipeline.load("2026-01-05", assets=ONLY)
    assert pipeline.rows("SELECT COUNT(*) FROM raw.concerts") == [(2,)]

    pipeline.put(concerts=[pipeline.concert(capacity=4000), pipeline.concert("new", on_sale_at=None)])
    result = pipeline.load("2026-01-05", assets=ONLY, fails=True)
    assert "has no ticket_orders" in pipeline.failure(result)

    pipeline.put(ticket_orders=orders)
    pipeline.load("2026-01-05", assets=ONLY)
    assert pipeline.rows("SELECT COUNT(*) FROM raw.concerts") == [(3,)]


def test_a_change_is_not_known_on_earlier_days(pipeline: "Pipeline") -> None:
    pipeline.set(last_day="2026-01-04")
    pipeline.load("2026-01-01", "2026-01-04")
    pipeline.set(last_day="2026-01-07")
    pipeline.put(concerts=[pipeline.concert(capacity=4000)])
    pipeline.load("2026-01-05", "2026-01-07")
    seen = {day: pipeline.as_of(day)["capacity"].tolist() for day in ("2026-01-04", "2026-01-06", "2026-01-07")}
    assert seen == {"2026-01-04": [3500], "2026-01-06": [3500], "2026-01-07": [4000]}


def test_the_day_of_the_show_is_in_the_concerts_own_time_zone(pipeline: "Pipeline") -> None:
    at = "2026-06-01 18:00:00"
    pipeline.put(
        concerts=[
            pipeline.concert("business", show_at=at),
            pipeline.concert("Los Angeles", show_at="2026-06-01 03:00:00", timezone="America/Los_Angeles"),
            pipeline.concert("Berlin", show_at=at, timezone="Europe/Berlin"),
        ]
    )
    pipeline.load("2026-01-02", assets=ONLY)
    assert pipeline.rows("SELECT concert_id, show_date FROM raw.concerts ORDER BY 1") == [
        ("Berlin", "2026-06-01"),
        ("Los Angeles", "2026-05-31"),
        ("business", "2026-06-02"),
    ]


def test_every_reason_to_refuse_a_concert_is_named(pipeline: "Pipeline") -> None:
    concert = pipeline.concert
    bad = [
        (concert(None), "missing concert_id"),
        (concert("b1", artist=None), "missing artist"),
        (concert("b2", city=" "), "missing city"),
        (concert("b3", country=None), "missing country"),
        (concert("b4", show_at=None), "unreadable show_at"),
        (concert("b5", show_at="summer"), "unreadable show_at"),
        (concert("b6", show_at="2206-06-01"), "impossible show_at"),
        (concert("b7", on_sale_at="soon"), "unreadable on_sale_at"),
        (concert("b8", on_sale_at="1970-01-01"), "impossible on_sale_at"),
        (concert("b9", on_sale_at="2026-06-02"), "on sale after the show"),
        (concert("b10", status_at="?"), "unreadable status_at"),
        (concert("b11", status_at="1026-01-01"), "impossible status_at"),
        (concert("b12", status=None), "unknown status"),
        (concert("b13", status="postponed"), "unknown status"),
        (concert("b14", capacity="many"), "unreadable capacity"),
        (concert("b15", capacity="10.5"), "unreadable capacity"),
        (concert("b16", capacity=-1), "negative capacity"),
        (concert("b17", timezone="Asia/Soul"), "unknown timezone"),
        (concert("c1", artist="Another"), "duplicate concert_id"),
    ]
    pipeline.put(concerts=[concert()] + [row for row, _ in bad])
    result = pipeline.load("2026-01-02", assets=ONLY)
    expected = [("concerts", None, reason, number) for number, (_, reason) in enumerate(bad, start=1)]
    assert pipeline.rejected() == expected
    assert pipeline.rows("SELECT concert_id, artist FROM raw.concerts") == [("c1", "Epik High")]

    again = pipeline.load("2026-01-03", assets=ONLY)
    assert pipeline.rejected() == expected
    shares = {pipeline.check(run, "concerts:rejected_rows")["rejected_share"] for run in (result, again)}
    assert shares == {len(bad) / (len(bad) + 1)}


def test_capacity_zero_and_absent_columns_mean_unknown(new_pipeline: "PipelineFactory") -> None:
    pipeline = new_pipeline()
    pipeline.put(concerts=[pipeline.concert("zero", capacity=0), pipeline.concert("none", capacity=None)])
    pipeline.load("2026-01-02", assets=ONLY)
    assert pipeline.rows(VERSIONS) == [("none", 1, BEGINNING, None), ("zero", 1, BEGINNING, None)]

    bare = new_pipeline()
    required = ["concert_id", "artist", "city", "country", "show_at", "status"]
    bare.put_file("concerts.parquet", [{name: bare.concert()[name] for name in required}])
    bare.load("2026-01-02", assets=ONLY)
    optional = "SELECT venue, capacity, on_sale_at, status_at, timezone, show_date FROM raw.concerts"
    assert bare.rows(optional) == [(None, None, None, None, None, "2026-06-01")]


def test_another_way_to_write_the_same_values_makes_no_new_version(pipeline: "Pipeline") -> None:
    pipeline.load("2026-01-02", assets=ONLY)
    before = pipeline.table(CONCERTS)
    same = pipeline.concert(
        capacity="3500.0", on_sale_at="2025-12-01T00:00:00Z", show_at="2026-06-01 19:00:00+09:00", status="On_Sale"
    )
    pipeline.put_all({"concerts": [same]}, ".csv")
    pipeline.load("2026-01-03", assets=ONLY)
    assert pipeline.table(CONCERTS) == before
