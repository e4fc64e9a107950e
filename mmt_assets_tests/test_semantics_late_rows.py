"""Late rows within the reload window are picked up and told; older ones are warned of. Older runs are refused."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from mmt_assets.assets import raw as raw_module
from mmt_assets.warehouse import Fence

if TYPE_CHECKING:
    from mmt_assets_tests.conftest import Pipeline

LATE = {
    "ticket_orders": ("2026-01-02", "2026-01-06"),
    "ticket_refunds": ("2026-01-03", "2026-01-07"),
    "makes": ("2026-01-02", "2026-01-06"),
}


def test_late_rows_are_picked_up_within_the_reload_window_and_warned_of_before_it(pipeline: "Pipeline") -> None:
    pipeline.load("2026-01-01", "2026-01-07")
    refunded = pipeline.order("b", status="refunded", status_at="2026-01-03 03:00:00")
    pipeline.put(
        ticket_orders=[
            pipeline.order(),
            pipeline.order("a", "2026-01-06 03:00:00", status="refunded", status_at="2026-01-07 03:00:00"),
            refunded,
        ],
        makes=[pipeline.make(), pipeline.make("a", "2026-01-06 03:00:00"), pipeline.make("b")],
    )
    result = pipeline.load("2026-01-08")
    for table, (missed_day, _) in LATE.items():
        found = pipeline.check(result, f"{table}:late_rows")
        assert (found["passed"], found["severity"], found["picked_up"], found["missed"]) == (False, "WARN", 1, 1), table
        assert found["what_to_do"] == f"Materialise {missed_day} again"
        assert pipeline.metadata(result, f"raw/{table}")["rows_added"] == 1
    sold = "SELECT sales_date, tickets_sold, tickets_refunded FROM features.concert_sales ORDER BY 1"
    assert pipeline.rows(sold) == [("2026-01-02", 2, 0), ("2026-01-06", 2, 0), ("2026-01-07", 0, 2)]

    result = pipeline.load("2026-01-02", "2026-01-03")
    assert [pipeline.check(result, f"{table}:late_rows")["passed"] for table in LATE] == [True, True, True]
    assert pipeline.rows(sold)[:2] == [("2026-01-02", 4, 0), ("2026-01-03", 0, 2)]


def test_rows_before_the_first_day_are_told_but_not_late(pipeline: "Pipeline") -> None:
    pipeline.put(ticket_orders=[pipeline.order(), pipeline.order("old", "2025-12-30 03:00:00")])
    result = pipeline.load("2026-01-01", "2026-01-02", assets=["raw/concerts", "raw/ticket_orders"])
    assert pipeline.metadata(result, "raw/ticket_orders")["rows_before_first_day"] == 1
    assert pipeline.check(result, "ticket_orders:late_rows")["passed"]


def test_an_older_run_that_wakes_up_late_is_refused(pipeline: "Pipeline", monkeypatch: pytest.MonkeyPatch) -> None:
    assets = ["raw/concerts", "raw/ticket_orders"]
    pipeline.load("2026-01-01", "2026-01-03", assets=assets)
    pipeline.put(ticket_orders=[pipeline.order("other")])

    def older(context: dg.AssetExecutionContext) -> Fence:
        return Fence(context.run.run_id, datetime.now(UTC) - timedelta(hours=1))

    monkeypatch.setattr("mmt_assets.assets.loading.run_fence", older)
    monkeypatch.setattr(raw_module, "run_fence", older)
    message = pipeline.failure(pipeline.load("2026-01-03", "2026-01-04", assets=assets, fails=True))
    assert "was written by the newer run" in message
    assert "wrote nothing" in message
    assert pipeline.rows("SELECT order_id FROM raw.ticket_orders") == [("o1",)]
