"""The accuracy table end to end: the real worker forecasts, and the scores are derived again here."""

from datetime import date
from typing import Any

import pandas as pd
import pytest

from mmt_assets.contracts import ACCURACY
from mmt_assets_tests.small_world import DAY_TABLES, LAST

# Its type lives in conftest.py, which nobody imports.
Pipeline = Any
NEAREST = {1: (1, 2), 3: (3, 2, 4), 7: (7, 6, 8), 14: (14, 13, 15)}


def derived(pipeline: Pipeline, origin: str, table: str) -> dict[int, dict[str, float]]:
    """Errors per days before the show, from the tables, without any of the code under test."""
    said = pipeline.query(f"SELECT * FROM {table} WHERE origin = @origin", origin=origin)
    said = said.set_index(["concert_id", "days_to_show"])
    sales = pipeline.query("SELECT * FROM features.concert_sales")
    shows = said["show_date"].groupby("concert_id").first()
    scores = {}
    for days, order in NEAREST.items():
        rows = []
        for concert, show in shows.items():
            near = next((d for d in order if (concert, d) in said.index), None)
            if near is None or show >= pd.Timestamp(LAST):
                continue
            row = said.loc[(concert, near)]
            sold = sales[(sales["concert_id"] == concert) & (sales["sales_date"] <= show)]["tickets_net"].sum()
            rows.append((row["final_p50"], sold, row["final_p10"] <= sold <= row["final_p90"], row["champion"]))
        if rows:
            frame = pd.DataFrame(rows, columns=["p50", "sold", "inside", "champion"])
            scores[days] = {
                "concerts_count": len(frame),
                "wape": (frame["p50"] - frame["sold"]).abs().sum() / frame["sold"].sum(),
                "bias": (frame["p50"] - frame["sold"]).sum() / frame["sold"].sum(),
                "coverage_80": frame["inside"].mean(),
            }
    return scores


def test_scores_equal_what_the_tables_say_and_live_forecasts_stand_apart(loaded: Pipeline) -> None:
    loaded.set(last_day=date(2026, 1, 16))
    loaded.load(date(2026, 1, 16), assets=DAY_TABLES)
    loaded.set(last_day=LAST)
    loaded.load(date(2026, 1, 8), date(2026, 1, 15), assets=DAY_TABLES)
    result = loaded.load(LAST, assets=["forecasts/accuracy"])

    stored = loaded.query("SELECT * FROM forecasts.accuracy WHERE segment_by = 'all' AND model = 'published'")
    for origin, table in (("live", "forecasts.published_outlook"), ("backfill", "forecasts.concert_outlook")):
        expected = derived(loaded, origin, table)
        rows = stored[stored["origin"] == origin].set_index("days_to_show")
        assert set(rows.index) == set(expected)
        for days, figures in expected.items():
            assert {name: rows.loc[days, name] for name in figures} == pytest.approx(figures), (origin, days)
    assert stored.loc[stored["origin"] == "live", "concerts_count"].max() < 30
    assert set(stored.loc[stored["is_headline"], "origin"]) == {"backfill"}
    assert set(stored["champion"].dropna()) == {"shrinkage"}

    told = loaded.metadata(result, "forecasts/accuracy")
    shown = stored[stored["is_headline"]].set_index("days_to_show")
    assert told["wape_7_days"] == pytest.approx(shown.loc[7, "wape"])
    assert told["coverage_7_days"] == pytest.approx(shown.loc[7, "coverage_80"])
    assert "7 days out (backfill, " in told["verdict"]
    checks = loaded.checks(result)
    assert {name for name, check in checks.items() if not check.passed} <= {
        "accuracy:beats_additive_pickup",
        "accuracy:coverage_holds",
    }
    assert "12 concerts with backfilled forecasts" in str(checks["accuracy:beats_additive_pickup"].description)

    before = loaded.table(ACCURACY)
    loaded.load(LAST, assets=["forecasts/accuracy"])
    assert [row[:19] for row in loaded.table(ACCURACY)] == [row[:19] for row in before]


def test_without_a_scored_forecast_the_table_is_empty_and_the_checks_say_why(loaded: Pipeline) -> None:
    result = loaded.load(LAST, assets=["forecasts/accuracy"])
    assert loaded.table(ACCURACY) == []
    assert loaded.metadata(result, "forecasts/accuracy")["verdict"].startswith("no completed concert has a forecast")
    judged = loaded.checks(result)["accuracy:coverage_holds"]
    assert judged.passed
    assert judged.description == "0 completed concerts have a forecast, 10 are needed to judge"
