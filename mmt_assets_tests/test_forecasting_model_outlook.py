"""What a row of the outlook says of itself: pace against comparables, status, method, progress."""

import re
from datetime import date, timedelta
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from mmt_assets.forecasting.chunks import Method
from mmt_assets.forecasting.comparables import Pace
from mmt_assets.forecasting.inputs import CONCERT_COLUMNS, ForecastInputs, ForecastOptions
from mmt_assets.forecasting.model import forecast
from mmt_assets.forecasting.outlook import FINAL_LEVELS, status_flag
from mmt_assets.forecasting.publishing import CONCERTS_PER_CHUNK

AS_OF = date(2024, 6, 30)
LENGTH = 40
OPTIONS = ForecastOptions(origins=6)
NO_DEMAND = pd.DataFrame(columns=["artist", "country", "city", "fans_count"])


def world(finished: int, factors: list[float]) -> ForecastInputs:
    """Finished concerts that sold 10 tickets a day, and active ones half way that sold a factor of it."""
    concerts, sales = [], []
    shows = [-1 - i for i in range(finished)] + [LENGTH // 2] * len(factors)
    for i, show in enumerate(shows):
        name, rate = f"c{i:03d}", 10 if i < finished else 10 * factors[i - finished]
        on_sale = show - LENGTH
        labels = ("A", "Seoul", "KR", "Hall")
        status = "completed" if show < 0 else "on_sale"
        dates = (AS_OF + timedelta(on_sale), AS_OF + timedelta(show))
        concerts.append((name, *labels, 1000.0, *dates, status, "KRW"))
        sales += [(name, AS_OF + timedelta(day), rate, 0) for day in range(on_sale, min(show, 0) + 1)]
    return ForecastInputs(
        pd.DataFrame(concerts, columns=list(CONCERT_COLUMNS)),
        pd.DataFrame(sales, columns=["concert_id", "sales_date", "tickets_sold", "tickets_refunded"]),
        NO_DEMAND,
    )


def test_pace_is_tickets_and_percent_ahead_of_the_comparables() -> None:
    outlook = forecast(world(80, [1.0, 0.5, 1.6]), AS_OF, options=OPTIONS).outlook
    # 21 days of 10 tickets by the same day to show.
    assert outlook["pace_tickets"].to_numpy() == pytest.approx([0, -105, 126], abs=12)
    assert outlook["pace_pct"].to_numpy() == pytest.approx([0, -50, 60], abs=6)
    assert outlook["status_flag"].tolist() == ["on_track", "behind", "ahead"]
    assert (outlook["comparables"] != "").all()


def test_pace_without_comparables_is_missing() -> None:
    tickets, percent = Pace(np.array([np.nan, 0.5]), np.array(["", "x"], dtype=object)).ahead(np.array([5.0, 5.0]))
    assert np.isnan(tickets[0])
    assert tickets[1] == 4.5
    assert np.isnan(percent).all()


@pytest.mark.parametrize(
    ("pace_pct", "flag"), [(15.0, "ahead"), (14.9, "on_track"), (-14.9, "on_track"), (-15.0, "behind")]
)
def test_the_flag_uses_the_published_percentage(pace_pct: float, flag: str) -> None:
    said = status_flag(age=20, recent=5, recent_expected=5, pace_pct=pace_pct, net=50, capacity=100, chance=0.1)
    assert said == flag


def test_method_names_the_weights_and_the_evidence() -> None:
    outlook = forecast(world(80, [1.0, 0.5]), AS_OF, options=OPTIONS).outlook
    assert set(outlook["method"]) == {"blend"} < set(get_args(Method))
    for reason in outlook["method_reason"]:
        shares = [int(share) for share in re.findall(r"[a-z_]+ (\d+)%", reason)]
        assert sum(shares) == pytest.approx(100, abs=3)
        assert shares == sorted(shares, reverse=True)
        assert re.search(r"; [1-9]\d* past forecasts$", reason)


def test_too_little_history_is_an_average_and_says_so() -> None:
    row = forecast(world(10, [1.0]), AS_OF, options=OPTIONS).outlook.iloc[0]
    assert row["method"] == "average"
    assert row["method_reason"].endswith("10 finished concerts: too few to calibrate on, wide intervals")


def test_progress_is_told_at_least_every_100_concerts() -> None:
    told: list[tuple[int, int]] = []
    forecast(world(30, [1.0] * 120), AS_OF, options=OPTIONS, progress=lambda *done: told.append(done))
    assert CONCERTS_PER_CHUNK <= 100
    assert told == [(100, 120), (120, 120)]


def test_the_distribution_agrees_with_the_published_quantiles() -> None:
    result = forecast(world(80, [1.0, 0.7]), AS_OF, options=OPTIONS)
    wide = result.final_quantiles.pivot_table(index="concert_id", columns="level", values="tickets")
    assert wide.columns.to_list() == pytest.approx(list(FINAL_LEVELS))
    assert (np.diff(wide.to_numpy(), axis=1) >= -1e-9).all()
    outlook = result.outlook.set_index("concert_id")
    for level, name in ((0.1, "final_p10"), (0.5, "final_p50"), (0.9, "final_p90")):
        assert wide[level].to_numpy() == pytest.approx(outlook.loc[wide.index, name].to_numpy(), abs=1e-3)


def test_the_fan_opens_from_what_is_sold_to_the_final_range() -> None:
    # Too few finished concerts to calibrate on: the final range is wide.
    paths = forecast(world(5, [1.0, 0.5, 1.6]), AS_OF, options=OPTIONS).ticket_sales
    for name in ("cumulative_tickets", "cumulative_gross_tickets"):
        for _, path in paths.groupby("concert_id"):
            width = (path[f"{name}_p90"] - path[f"{name}_p10"]).to_numpy()
            assert (np.diff(width) > -0.01 * width[-1]).all(), "what is near is not less certain than what is far"
            # After one of twenty days most of the range is still ahead.
            assert width[0] < 0.3 * width[-1]
