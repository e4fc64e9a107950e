"""As of D means the end of D: statuses are derived for it, and nothing timed later changes what it sees."""

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from mmt_assets_tests.conftest import Pipeline

SALES = ("raw/concerts", "raw/ticket_orders", "raw/ticket_refunds", "features/concert_sales")


def test_status_is_derived_for_the_day(pipeline: "Pipeline") -> None:
    concert, order = pipeline.concert, pipeline.order
    show = "2026-01-08 10:00:00"
    pipeline.put(
        concerts=[
            concert("on sale later", on_sale_at="2026-01-04 15:00:00", status="announced"),
            concert("first order", on_sale_at=None, status="announced"),
            concert("never ordered", on_sale_at=None, status="on_sale"),
            concert("completed", on_sale_at="2026-01-03 00:00:00", show_at=show, status="completed"),
            concert("completed, no sale time", on_sale_at=None, show_at=show, status="completed"),
            concert("cancelled", status="cancelled", status_at="2026-01-04 15:00:00"),
            concert("cancelled at once", status="cancelled"),
            concert("past", show_at="2025-12-31 10:00:00", status="on_sale"),
            concert("cancelled after the show", show_at=show, status="cancelled", status_at="2026-01-09 10:00:00"),
        ],
        ticket_orders=[order("o1", "2026-01-05 03:00:00", concert_id="first order")],
    )
    pipeline.load("2026-01-01", "2026-01-10", assets=SALES)
    days = ("2026-01-01", "2026-01-04", "2026-01-05", "2026-01-08", "2026-01-09")
    seen = {day: pipeline.as_of(day).set_index("concert_id")["status"].to_dict() for day in days}
    assert {name: [seen[day][name] for day in days] for name in seen[days[0]]} == {
        "on sale later": ["announced", "announced", "on_sale", "on_sale", "on_sale"],
        "first order": ["announced", "announced", "on_sale", "on_sale", "on_sale"],
        "never ordered": ["announced"] * 5,
        # A completed of today's source does not hide a concert that was ahead; on its day the show is still ahead.
        "completed": ["announced", "on_sale", "on_sale", "on_sale", "completed"],
        "completed, no sale time": ["announced", "announced", "announced", "announced", "completed"],
        "cancelled": ["on_sale", "on_sale", "cancelled", "cancelled", "cancelled"],
        "cancelled at once": ["cancelled"] * 5,
        "past": ["completed"] * 5,
        "cancelled after the show": ["on_sale", "on_sale", "on_sale", "on_sale", "cancelled"],
    }


def test_a_cancellation_without_a_time_holds_from_when_it_is_seen(pipeline: "Pipeline") -> None:
    pipeline.set(last_day="2026-01-04")
    pipeline.load("2026-01-01", "2026-01-04", assets=SALES)
    pipeline.set(last_day="2026-01-06")
    pipeline.put(concerts=[pipeline.concert(status="cancelled")])
    pipeline.load("2026-01-05", "2026-01-06", assets=SALES)
    assert [pipeline.status(f"2026-01-0{day}") for day in (4, 5, 6)] == ["on_sale", "on_sale", "cancelled"]


def test_nothing_timed_after_a_day_changes_what_is_known_as_of_it(pipeline: "Pipeline") -> None:
    concert, order, make = pipeline.concert, pipeline.order, pipeline.make
    orders = [order("a"), order("b", "2026-01-04 03:00:00", status="refunded", status_at="2026-01-05 03:00:00")]
    makes = [make("f1"), make("f2", "2026-01-04 03:00:00")]
    pipeline.set(last_day="2026-01-05")
    pipeline.put(concerts=[concert(), concert("c2", on_sale_at=None)], ticket_orders=orders, makes=makes)
    pipeline.load("2026-01-01", "2026-01-05")

    days = ("2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05")
    names = ("concerts_as_of", "sales_history", "fans_as_of")

    def known() -> dict[tuple[str, str], pd.DataFrame]:
        return {(day, name): pipeline.as_of(day, name) for day in days for name in names}

    before = known()
    changed: dict[str, Any] = {"capacity": 9, "show_at": "2026-01-07 10:00:00", "status": "cancelled"}
    pipeline.set(last_day="2026-01-08")
    pipeline.put(
        concerts=[
            concert(**changed, status_at="2026-01-06 03:00:00"),
            concert("c2", on_sale_at="2026-01-06 03:00:00", city="Hamburg"),
            concert("c3", on_sale_at="2026-01-06 03:00:00"),
        ],
        ticket_orders=[
            # Refunded since, without a time: nobody knew on the days before.
            {**orders[0], "status": "refunded"},
            orders[1],
            order("c", "2026-01-05 15:00:00"),
            order("d", "2026-01-06 03:00:00", concert_id="c2", currency="KRW"),
            order("e", "2026-01-07 03:00:00", concert_id="c3", status="refunded", status_at="2026-01-08 03:00:00"),
        ],
        makes=[*makes, make("f1", "2026-01-06 03:00:00"), make("f3", "2026-01-05 15:00:00")],
    )
    for first, last in (("2026-01-06", "2026-01-08"), ("2026-01-01", "2026-01-08")):
        pipeline.load(first, last)
        after = known()
        for key, frame in before.items():
            pd.testing.assert_frame_equal(after[key], frame, obj=str(key))
    latest = {name: pipeline.as_of("2026-01-08", name) for name in names}
    assert {name: len(latest[name]) - len(before["2026-01-05", name]) for name in names} == {
        "concerts_as_of": 1,
        "sales_history": 5,
        "fans_as_of": 0,
    }
    assert latest["fans_as_of"]["fans_count"].tolist() == [3]
