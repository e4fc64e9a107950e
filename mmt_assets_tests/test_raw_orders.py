"""Orders: which day they belong to, which are refused and why."""

import json
from typing import TYPE_CHECKING

import pytest

from mmt_assets.contracts import TICKET_ORDERS

if TYPE_CHECKING:
    from mmt_assets_tests.conftest import Pipeline, PipelineFactory

ORDERS = ("raw/concerts", "raw/ticket_orders")
ORDER_DAYS = "SELECT order_id, order_date FROM raw.ticket_orders ORDER BY order_id"


@pytest.mark.parametrize(
    ("timezone", "day", "begins", "last_second", "ends"),
    [
        ("Asia/Seoul", "2026-01-03", "2026-01-02 15:00:00", "2026-01-03 14:59:59", "2026-01-03 15:00:00"),
        ("America/New_York", "2026-03-08", "2026-03-08 05:00:00", "2026-03-09 03:59:59", "2026-03-09 04:00:00"),
        ("America/New_York", "2026-11-01", "2026-11-01 04:00:00", "2026-11-02 04:59:59", "2026-11-02 05:00:00"),
    ],
    ids=["Seoul", "New York, 23 hours", "New York, 25 hours"],
)
def test_a_business_day_is_a_calendar_day_in_the_business_time_zone(
    new_pipeline: "PipelineFactory", timezone: str, day: str, begins: str, last_second: str, ends: str
) -> None:
    pipeline = new_pipeline(timezone=timezone, first_day=day, last_day=day)
    before = begins.replace(":00:00", ":59:59").replace(f" {begins[11:13]}", f" {int(begins[11:13]) - 1:02}")
    times = {"1 before": before, "2 begins": begins, "3 last second": last_second, "4 ends": ends}
    pipeline.put(
        concerts=[pipeline.concert(show_at="2026-12-01")],
        ticket_orders=[pipeline.order(order_id, time) for order_id, time in times.items()],
    )
    pipeline.load(day, assets=ORDERS)
    assert pipeline.rows(ORDER_DAYS) == [("2 begins", day), ("3 last second", day)]


def test_naive_times_are_utc_and_aware_ones_are_converted(pipeline: "Pipeline") -> None:
    times = ["2026-01-02 14:59:59", "2026-01-02T15:00:00", "2026-01-03 00:00:00+09:00", "2026-01-02T15:00:00Z"]
    pipeline.put(ticket_orders=[pipeline.order(f"o{n}", time) for n, time in enumerate(times)])
    pipeline.load("2026-01-01", "2026-01-04", assets=ORDERS)
    assert pipeline.rows(ORDER_DAYS) == [
        ("o0", "2026-01-02"),
        ("o1", "2026-01-03"),
        ("o2", "2026-01-03"),
        ("o3", "2026-01-03"),
    ]


def test_every_reason_to_refuse_an_order_is_named(pipeline: "Pipeline") -> None:
    order = pipeline.order
    bad = [
        (order(None), "missing order_id"),
        (order("b1", "yesterday"), "unreadable ordered_at"),
        (order("b2", None), "unreadable ordered_at"),
        (order("b3", "0026-01-02"), "impossible ordered_at"),
        (order("b4", "2126-01-02"), "impossible ordered_at"),
        (order("b4i", "infinity"), "impossible ordered_at"),
        (order("b5", concert_id=None), "missing concert_id"),
        (order("b6", concert_id="nobody knows"), "unknown concert"),
        (order("b7", quantity=None), "unreadable quantity"),
        (order("b8", quantity="two"), "unreadable quantity"),
        (order("b9", quantity="1.5"), "unreadable quantity"),
        (order("b10", quantity=0), "quantity is not positive"),
        (order("b11", quantity=-2), "quantity is not positive"),
        (order("b12", unit_price=None), "unreadable unit_price"),
        (order("b13", unit_price="12 EUR"), "unreadable unit_price"),
        (order("b14", unit_price="-0.01"), "negative unit_price"),
        (order("b15", currency=None), "unknown currency"),
        (order("b16", currency="EURO"), "unknown currency"),
        (order("b17", status=None), "unknown status"),
        (order("b18", status="lost"), "unknown status"),
        (order("b19", quantity="99999999999", unit_price="99999999"), "impossible order value"),
        (order("o1", "2026-01-02 04:00:00"), "duplicate order_id"),
        (order("b20", currency="USD"), "currency differs from the first order of the concert"),
    ]
    good = [
        order("o1", "2026-01-01 03:00:00"),
        order("free", unit_price=0),
        order("small", status=" PAID ", currency="eur"),
    ]
    pipeline.put(ticket_orders=good + [row for row, _ in bad])
    result = pipeline.load("2026-01-01", "2026-01-03")
    refused = {row: reason for table, _, reason, row in pipeline.rejected() if table == "ticket_orders"}
    assert refused == {row: reason for row, (_, reason) in enumerate(bad, start=len(good))}
    assert [row[0] for row in pipeline.rows(ORDER_DAYS)] == ["free", "o1", "small"]
    told = pipeline.metadata(result, "raw/ticket_orders")
    assert (told["dagster/row_count"], told["rejected_rows"]) == (3, len(bad))
    assert told["rejected_reasons"]["unreadable quantity"] == 3


def test_a_row_whose_day_cannot_be_read_is_kept_once_without_a_day(pipeline: "Pipeline") -> None:
    pipeline.put(ticket_orders=[pipeline.order(), pipeline.order("o2", "soon"), pipeline.order("o3", quantity=0)])
    expected = [
        ("ticket_orders", None, "unreadable ordered_at", 1),
        ("ticket_orders", "2026-01-02", "quantity is not positive", 2),
    ]
    for first, last in (("2026-01-01", "2026-01-02"), ("2026-01-01", "2026-01-02"), ("2026-01-07", "2026-01-08")):
        pipeline.load(first, last, assets=ORDERS)
        assert pipeline.rejected() == expected
    found = pipeline.rows("SELECT source_file, row_json FROM raw.rejected_rows ORDER BY source_row")
    assert [(file, json.loads(row)["order_id"], json.loads(row)["ordered_at"]) for file, row in found] == [
        ("ticket_orders.parquet", "o2", "soon"),
        ("ticket_orders.parquet", "o3", "2026-01-02 03:00:00"),
    ]


def test_of_rows_with_one_key_the_earliest_stays_and_then_the_lowest_row(pipeline: "Pipeline") -> None:
    pipeline.put(
        ticket_orders=[
            pipeline.order("late", "2026-01-03 05:00:00", quantity=9),
            pipeline.order("late", "2026-01-02 05:00:00", quantity=1),
            pipeline.order("same", quantity=1),
            pipeline.order("same", quantity=9),
            pipeline.order("bad first", "2026-01-01 05:00:00", quantity="?"),
            pipeline.order("bad first", quantity=1),
        ]
    )
    pipeline.load("2026-01-01", "2026-01-03", assets=ORDERS)
    assert pipeline.rows("SELECT order_id, quantity FROM raw.ticket_orders ORDER BY 1") == [
        ("bad first", 1),
        ("late", 1),
        ("same", 1),
    ]
    assert [(reason, row) for _, _, reason, row in pipeline.rejected()] == [
        ("unreadable quantity", 4),
        ("duplicate order_id", 3),
        ("duplicate order_id", 0),
    ]


def test_orders_that_merely_look_alike_are_different_orders(pipeline: "Pipeline") -> None:
    pipeline.put(ticket_orders=[pipeline.order("a"), pipeline.order("b")])
    pipeline.load("2026-01-02", assets=ORDERS)
    assert [row[0] for row in pipeline.rows(ORDER_DAYS)] == ["a", "b"]
    assert pipeline.rejected() == []


def test_a_duplicate_does_not_decide_the_currency_of_its_concert(pipeline: "Pipeline") -> None:
    pipeline.put(
        concerts=[pipeline.concert("c1"), pipeline.concert("c2")],
        ticket_orders=[
            pipeline.order("a", "2026-01-01 03:00:00", concert_id="c1", currency="USD"),
            pipeline.order("a", "2026-01-02 03:00:00", concert_id="c2", currency="USD"),
            pipeline.order("b", "2026-01-03 03:00:00", concert_id="c2", currency="KRW"),
        ],
    )
    pipeline.load("2026-01-01", "2026-01-03", assets=ORDERS)
    assert [row[0] for row in pipeline.rows(ORDER_DAYS)] == ["a", "b"]
    assert [reason for _, _, reason, _ in pipeline.rejected()] == ["duplicate order_id"]


def test_an_order_of_an_unknown_concert_is_picked_up_when_the_concert_appears(pipeline: "Pipeline") -> None:
    pipeline.put(ticket_orders=[pipeline.order("o1"), pipeline.order("o2", concert_id="c2")])
    pipeline.load("2026-01-01", "2026-01-02", assets=ORDERS)
    assert pipeline.rejected() == [("ticket_orders", "2026-01-02", "unknown concert", 1)]
    pipeline.put(concerts=[pipeline.concert(), pipeline.concert("c2")])
    result = pipeline.load("2026-01-04", assets=ORDERS)
    assert pipeline.rejected() == []
    assert pipeline.rows(ORDER_DAYS) == [("o1", "2026-01-02"), ("o2", "2026-01-02")]
    assert pipeline.metadata(result, "raw/ticket_orders")["rows_added"] == 1
    assert pipeline.check(result, "ticket_orders:late_rows")["picked_up"] == 1


def test_currencies_are_iso_4217(pipeline: "Pipeline") -> None:
    codes = ["EUR", "KRW", "JPY", "XYZ", "E"]
    pipeline.put(
        concerts=[pipeline.concert(code) for code in codes],
        ticket_orders=[pipeline.order(code, concert_id=code, currency=code) for code in codes],
    )
    pipeline.load("2026-01-02", assets=ORDERS)
    assert [row[0] for row in pipeline.rows(ORDER_DAYS)] == ["EUR", "JPY", "KRW"]


def test_more_tickets_than_seats_are_not_bad(pipeline: "Pipeline") -> None:
    pipeline.put(concerts=[pipeline.concert(capacity=3)], ticket_orders=[pipeline.order("a"), pipeline.order("b")])
    pipeline.load("2026-01-02", assets=ORDERS)
    assert len(pipeline.table(TICKET_ORDERS)) == 2
    assert pipeline.rejected() == []


@pytest.mark.parametrize(("allowed", "severity"), [(0.5, "WARN"), (0.1, "ERROR")])
def test_the_share_of_rejected_rows_warns_or_fails_by_setting(
    new_pipeline: "PipelineFactory", allowed: float, severity: str
) -> None:
    pipeline = new_pipeline(max_rejected_share=allowed)
    pipeline.put(ticket_orders=[pipeline.order(f"o{n}") for n in range(3)] + [pipeline.order("bad", quantity=0)])
    result = pipeline.load("2026-01-02", assets=ORDERS)
    found = pipeline.check(result, "ticket_orders:rejected_rows")
    assert (found["passed"], found["severity"]) == (False, severity)
    assert (found["rejected_rows"], found["accepted_rows"], found["rejected_share"]) == (1, 3, 0.25)


def test_rows_without_a_day_are_judged_against_the_whole_source_not_against_one_day(pipeline: "Pipeline") -> None:
    good = [pipeline.order(f"o{n}", f"2026-01-0{1 + n % 5} 03:00:00") for n in range(100)]
    pipeline.put(ticket_orders=[*good, pipeline.order("bad", "2026-13-45")])
    pipeline.set(reload_days=0)
    pipeline.load("2026-01-01", "2026-01-04", assets=["raw/concerts", "raw/ticket_orders"])
    found = pipeline.check(pipeline.load("2026-01-05", assets=["raw/ticket_orders"]), "ticket_orders:rejected_rows")
    assert (found["rejected_rows"], found["rejected_without_a_day"], found["accepted_rows"]) == (1, 1, 20)
    assert found["rejected_share"] == pytest.approx(1 / 101)
    assert (found["passed"], found["severity"]) == (False, "WARN")
