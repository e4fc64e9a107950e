"""Scores of past forecasts: what is counted, beside which yardstick, and when a check fails."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmt_assets.forecasting.accuracy import (
    headline_origins,
    judge_coverage,
    judge_errors,
    newest,
    scoreboard,
    with_pickup,
)
from mmt_assets.forecasting.pickup import pickup_remaining


def said(concerts: int = 1, origin: str = "live", days: int = 7, **values: Any) -> pd.DataFrame:
    """Forecasts of 100 to 140 tickets, 120 in the middle, where 110 were sold."""
    rows = [
        {
            "origin": origin,
            "scored_days": days,
            "as_of_date": date(2026, 3, 1) + timedelta(days=i - days),
            "concert_id": f"{origin}-{i}",
            "days_to_show": days,
            "sold": 80,
            "capacity": 200.0,
            "final_p10": 100.0,
            "final_p50": 120.0,
            "final_p90": 140.0,
            "sell_out_probability": 0.1,
            "method": "blend",
            "champion": "shrinkage",
            "country": "Germany",
            "show_date": date(2026, 3, 1) + timedelta(days=i),
            "actual": 110,
            "pickup": 140.0,
            **values,
        }
        for i in range(concerts)
    ]
    return pd.DataFrame(rows)


def row(table: pd.DataFrame, **values: Any) -> dict[str, Any]:
    wanted = {"segment_by": "all", "model": "published", **values}
    found = table[np.logical_and.reduce([table[name] == value for name, value in wanted.items()])]
    assert len(found) == 1, found
    return found.iloc[0].to_dict()


def test_errors_bias_coverage_and_brier_are_those_of_the_definition() -> None:
    two = pd.concat([said(), said(concert_id="full", actual=200, sell_out_probability=0.4, final_p50=150.0)])
    scored = row(scoreboard(two))
    assert (scored["concerts_count"], scored["actual_tickets"], scored["forecast_tickets"]) == (2, 310, 270)
    assert scored["wape"] == pytest.approx((10 + 50) / 310)
    assert scored["bias"] == pytest.approx((10 - 50) / 310)
    assert scored["coverage_80"] == 0.5
    assert scored["sell_out_brier"] == pytest.approx((0.1**2 + 0.6**2) / 2)
    yardstick = row(scoreboard(two), model="additive_pickup")
    assert yardstick["wape"] == pytest.approx((30 + 60) / 310)
    assert pd.isna(yardstick["coverage_80"])


def test_segments_and_the_champion_are_told() -> None:
    table = scoreboard(
        pd.concat([said(3), said(1, concert_id="b", champion="boosted_trees", country="Korea", final_p50=110.0)])
    )
    everything = row(table)
    assert (everything["champion"], everything["champion_share"]) == ("shrinkage", 0.75)
    assert row(table, segment_by="country", segment="Korea")["wape"] == 0
    assert row(table, segment_by="champion", segment="shrinkage")["concerts_count"] == 3
    assert row(table, segment_by="method", segment="blend")["concerts_count"] == 4


def test_a_sell_out_of_unknown_capacity_and_a_show_without_sales_have_no_score_of_their_own() -> None:
    scored = row(scoreboard(said(capacity=np.nan, actual=0, sell_out_probability=np.nan)))
    assert pd.isna(scored["sell_out_brier"])
    assert pd.isna(scored["wape"])


def test_backfilled_forecasts_are_shown_until_thirty_concerts_have_a_live_one() -> None:
    assert headline_origins(pd.concat([said(29), said(80, "backfill")])) == {7: "backfill"}
    assert headline_origins(pd.concat([said(30), said(80, "backfill")])) == {7: "live"}
    assert headline_origins(said(2)) == {7: "live"}
    table = scoreboard(pd.concat([said(30), said(80, "backfill"), said(5, days=60), said(80, "backfill", days=60)]))
    shown = table[table["is_headline"] & (table["segment_by"] == "all") & (table["model"] == "published")]
    assert shown[["days_to_show", "origin"]].to_numpy().tolist() == [[60, "backfill"], [7, "live"]]


def test_nothing_scored_is_an_empty_table_and_no_judgement() -> None:
    nothing = said().iloc[:0]
    assert scoreboard(nothing).empty
    recent = newest(nothing, 100)
    assert judge_errors(recent).passed
    assert "0 completed concerts have a forecast" in judge_coverage(recent).message


def test_the_last_completed_concerts_are_judged_live_ones_when_there_are_enough() -> None:
    assert set(newest(pd.concat([said(30), said(50, "backfill")]), 10)["concert_id"]) == {
        f"live-{i}" for i in range(20, 30)
    }
    assert set(newest(pd.concat([said(29), said(50, "backfill")]), 100)["origin"]) == {"backfill"}


def test_published_forecasts_that_err_more_than_pickup_fail_with_an_error_only_beyond_chance() -> None:
    good = judge_errors(said(12))
    assert (good.passed, good.figures) == (
        True,
        {"wape_published": pytest.approx(10 / 110), "wape_additive_pickup": pytest.approx(30 / 110)},
    )
    always = judge_errors(said(12, pickup=111.0))
    assert (always.passed, always.is_certain) == (False, True)
    assert "worse beyond chance 7 days before the show" in always.message
    mixed = said(12)
    mixed["pickup"] = [111.0, 128.0] * 6
    mixed.loc[0, "pickup"] = 110.0
    once = judge_errors(mixed)
    assert (once.passed, once.is_certain) == (False, False)


def test_worse_at_one_number_of_days_fails_although_all_together_are_better() -> None:
    judged = judge_errors(pd.concat([said(20, days=60), said(20, pickup=115.0)]))
    assert judged.figures["wape_published"] < judged.figures["wape_additive_pickup"]
    assert (judged.passed, judged.is_certain) == (False, True)
    assert judged.message.endswith("worse beyond chance 7 days before the show")


@pytest.mark.parametrize(("missed", "passed"), [(0, False), (4, True), (9, True), (20, False), (40, False)])
def test_coverage_may_leave_its_band_by_no_more_than_binomial_error(missed: int, passed: bool) -> None:
    rows = said(40)
    rows.loc[: missed - 1, "actual"] = 150
    judged = judge_coverage(rows)
    assert judged.passed is passed
    assert judged.figures == {"coverage_7_days": pytest.approx(1 - missed / 40)}


def test_intervals_that_end_at_the_capacity_are_expected_to_hold_more() -> None:
    ends_at_capacity = said(40, capacity=140.0)
    assert row(scoreboard(ends_at_capacity))["expected_coverage"] == pytest.approx(0.9)
    assert judge_coverage(ends_at_capacity).passed
    full = {"final_p10": 140.0, "final_p50": 140.0, "capacity": 140.0, "actual": 140}
    likely = said(40, **full, sell_out_probability=0.97)
    assert row(scoreboard(likely))["expected_coverage"] == pytest.approx(0.97)
    assert judge_coverage(likely).passed
    assert row(scoreboard(said(1, **full, sold=140)))["expected_coverage"] == 1.0
    assert row(scoreboard(said(capacity=np.nan, sell_out_probability=np.nan)))["expected_coverage"] == 0.8


def test_additive_pickup_is_the_mean_of_what_finished_concerts_still_sold() -> None:
    concerts = pd.DataFrame(
        {"concert_id": ["a", "b", "now"], "show_date": [date(2026, 1, 10), date(2026, 1, 20), date(2026, 2, 1)]}
    )
    sales = pd.DataFrame(
        [
            ("a", date(2026, 1, 1), 10),
            ("a", date(2026, 1, 8), 6),
            ("a", date(2026, 1, 10), 2),
            ("a", date(2026, 1, 11), 99),
            ("b", date(2026, 1, 17), 20),
            ("b", date(2026, 1, 18), -4),
            ("now", date(2026, 1, 15), 30),
        ],
        columns=["concert_id", "sales_date", "net"],
    )
    targets = pd.DataFrame(
        {
            "as_of_date": [date(2026, 1, 10), date(2026, 1, 11), date(2026, 1, 30), date(2026, 1, 30)],
            "days_to_show": [22, 3, 2, 40],
            "sold": [0, 0, 30, 30],
        },
        index=[7, 8, 9, 10],
    )
    found = pickup_remaining(concerts, sales, targets)
    # On the 10th nothing has finished; on the 11th a has; on the 30th a and b have.
    assert found["additive"].tolist() == [0.0, 8.0, (2 + 0) / 2, (18 + 16) / 2]
    assert found.loc[9, "multiplicative"] == pytest.approx(30 * (34 / 32 - 1))
    assert found.index.tolist() == [7, 8, 9, 10]


def test_the_yardstick_is_held_to_the_same_bounds() -> None:
    concerts = pd.DataFrame({"concert_id": ["a"], "show_date": [date(2026, 1, 10)]})
    sales = pd.DataFrame(
        {"concert_id": ["a"], "sales_date": [date(2026, 1, 9)], "tickets_sold": [500], "tickets_refunded": [100]}
    )
    rows = pd.concat([said(), said(capacity=np.nan), said(capacity=50.0)], ignore_index=True)
    assert with_pickup(rows, concerts, sales)["pickup"].tolist() == [200.0, 480.0, 80.0]
