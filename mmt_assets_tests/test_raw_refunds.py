"""Refunds: an order counts although it is refunded later, a refund from its own day on."""

from typing import TYPE_CHECKING

import pandas as pd

from mmt_assets.contracts import TICKET_REFUNDS, UNDATED_REFUNDS

if TYPE_CHECKING:
    from mmt_assets_tests.conftest import Pipeline, PipelineFactory

REFUNDS = ("raw/concerts", "raw/ticket_refunds")
REFUND_DAYS = "SELECT order_id, refund_date FROM raw.ticket_refunds ORDER BY 1"


def test_an_order_counts_on_its_day_and_its_refund_on_the_day_of_status_at(pipeline: "Pipeline") -> None:
    pipeline.put(ticket_orders=[pipeline.order(status="refunded", status_at="2026-01-04 15:00:00")])
    pipeline.load("2026-01-01", "2026-01-06")
    sales = "SELECT sales_date, orders_count, tickets_sold, tickets_refunded, tickets_net FROM features.concert_sales"
    assert pipeline.rows(sales + " ORDER BY 1") == [("2026-01-02", 1, 2, 0, 2), ("2026-01-05", 0, 0, 2, -2)]


def test_undated_refunds_hold_from_the_orders_day_at_first_and_later_from_when_they_are_seen(
    pipeline: "Pipeline",
) -> None:
    order = pipeline.order
    early, late = order("early", status="refunded"), order("late", "2026-01-06 03:00:00", status="refunded")
    pipeline.put(ticket_orders=[early, late, order("paid")])
    pipeline.set(last_day="2026-01-07")
    # The first load ever may come in pieces: the second piece is not a later load.
    first = pipeline.load("2026-01-01", "2026-01-03", assets=REFUNDS)
    pipeline.load("2026-01-04", "2026-01-07", assets=REFUNDS)
    assert pipeline.rows(REFUND_DAYS) == [("early", "2026-01-02"), ("late", "2026-01-06")]
    found = pipeline.check(first, "ticket_refunds:refunds_are_dated")
    assert (found["passed"], found["severity"], found["undated_refunds"]) == (False, "WARN", 1)

    pipeline.set(last_day="2026-01-09")
    pipeline.put(ticket_orders=[early, late, order("paid", status="refunded")])
    expected = [("early", "2026-01-02"), ("late", "2026-01-06"), ("paid", "2026-01-09")]
    for first_day, last_day in (("2026-01-08", "2026-01-09"), ("2026-01-09", None), ("2026-01-08", "2026-01-09")):
        pipeline.load(first_day, last_day, assets=REFUNDS)
        assert pipeline.rows(REFUND_DAYS) == expected
    assert len(pipeline.table(UNDATED_REFUNDS)) == 3


def test_loading_an_old_day_again_does_not_tell_it_of_a_refund_nobody_knew_of(pipeline: "Pipeline") -> None:
    pipeline.set(last_day="2026-01-05")
    pipeline.load("2026-01-01", "2026-01-05", assets=REFUNDS)
    pipeline.set(last_day="2026-01-06")
    pipeline.put(ticket_orders=[pipeline.order(status="refunded")])
    result = pipeline.load("2026-01-03", assets=REFUNDS)
    assert pipeline.rows(REFUND_DAYS) == []
    assert pipeline.check(result, "ticket_refunds:late_rows")["missed"] == 0
    pipeline.load("2026-01-06", assets=REFUNDS)
    assert pipeline.rows(REFUND_DAYS) == [("o1", "2026-01-06")]


def test_a_source_without_status_at_has_undated_refunds(pipeline: "Pipeline") -> None:
    rows = pd.DataFrame([pipeline.order("a", status="refunded"), pipeline.order("b")]).drop(columns="status_at")
    pipeline.put(ticket_orders=rows.astype(str))
    result = pipeline.load("2026-01-01", "2026-01-03", assets=REFUNDS)
    assert pipeline.rows(REFUND_DAYS) == [("a", "2026-01-02")]
    assert pipeline.check(result, "ticket_refunds:refunds_are_dated")["undated_refunds"] == 1


def test_every_reason_to_refuse_a_refund_is_named_and_the_order_stays(pipeline: "Pipeline") -> None:
    bad = [
        ("soon", "unreadable status_at"),
        ("0026-01-03", "impossible status_at"),
        ("2026-01-02 02:59:59", "refunded before it was ordered"),
    ]
    orders = [pipeline.order(f"b{n}", status="refunded", status_at=time) for n, (time, _) in enumerate(bad)]
    pipeline.put(ticket_orders=[*orders, pipeline.order("paid", status_at="whenever")])
    for _ in range(2):
        pipeline.load("2026-01-01", "2026-01-03")
        expected = [("ticket_refunds", "2026-01-02", reason, row) for row, (_, reason) in enumerate(bad)]
        assert pipeline.rejected() == expected
    assert pipeline.rows("SELECT COUNT(*) FROM raw.ticket_orders") == [(4,)]
    assert pipeline.table(TICKET_REFUNDS) == []


def test_refunds_of_refused_orders_are_not_refunds(new_pipeline: "PipelineFactory") -> None:
    pipeline = new_pipeline()
    pipeline.put(ticket_orders=[pipeline.order("bad", quantity=0, status="refunded"), pipeline.order()])
    pipeline.load("2026-01-02", assets=REFUNDS)
    assert pipeline.table(TICKET_REFUNDS) == []
    assert pipeline.table(UNDATED_REFUNDS) == []


def test_tables_that_are_written_along_are_recorded_as_materialised(pipeline: "Pipeline") -> None:
    pipeline.put(ticket_orders=[pipeline.order(status="refunded"), pipeline.order("bad", quantity=0)])
    run = pipeline.load("2026-01-02", assets=["raw/concerts", "raw/ticket_orders", "raw/ticket_refunds"])
    assert pipeline.metadata(run, "raw/undated_refunds")["rows_added"] == 1
    recorded = [
        (event.materialization.metadata["source_table"].value, event.materialization.metadata["rejected_rows"].value)
        for event in run.get_asset_materialization_events()
        if event.materialization.asset_key.path[-1] == "rejected_rows"
    ]
    assert sorted(recorded) == [("concerts", 0), ("ticket_orders", 1), ("ticket_refunds", 0)]
