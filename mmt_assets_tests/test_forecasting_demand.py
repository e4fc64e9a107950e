"""The forecast of fans' demand."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmt_assets.forecasting import forecast_demand
from mmt_assets.forecasting.demand import COLUMNS, HORIZONS, PLACE

AS_OF = date(2026, 6, 30)
COUNTS = ["makes_p10", "makes_p50", "makes_p90"]


def demand(counts: dict[tuple[str, str, str], dict[int, int]]) -> pd.DataFrame:
    """Makes per place and days before the as-of date; every make is a new fan."""
    rows = [
        {
            **dict(zip(PLACE, place, strict=True)),
            "demand_date": pd.Timestamp(AS_OF) - pd.Timedelta(days=back),
            "makes_count": count,
            "new_fans_count": count,
        }
        for place, days in counts.items()
        for back, count in days.items()
    ]
    return pd.DataFrame(rows, columns=[*PLACE, "demand_date", "makes_count", "new_fans_count"])


def steady_world(level: float, places: int, seed: int = 1) -> dict[tuple[str, str, str], dict[int, int]]:
    random = np.random.default_rng(seed)
    return {
        ("Artist", "Germany", f"City {n}"): {
            back: int(count) for back, count in enumerate(random.poisson(level, 250)) if count
        }
        for n in range(places)
    }


def test_nobody_asked_for_anything() -> None:
    said = forecast_demand(demand({}), AS_OF)
    assert said.empty
    assert list(said.columns) == list(COLUMNS)


def test_every_place_has_every_horizon_and_its_own_history() -> None:
    said = forecast_demand(demand({**steady_world(3, 6), ("Artist", "France", "City 0"): {4: 2}}), AS_OF)
    assert len(said) == 7 * len(HORIZONS)
    assert sorted(said["days_ahead"].unique()) == list(HORIZONS)
    assert (said["demand_date"] == pd.Timestamp(AS_OF) + pd.to_timedelta(said["days_ahead"], unit="D")).all()
    in_france = said[said["country"] == "France"]
    assert (in_france["makes_so_far"] == 2).all(), "a city of the same name in another country is another place"
    assert (in_france["makes_p50"] < said[said["city"] == "City 1"]["makes_p50"].to_numpy()).all()


def test_a_steady_place_goes_on_as_it_was() -> None:
    said = forecast_demand(demand(steady_world(5, 12)), AS_OF)
    month = said[said["days_ahead"] == 28]
    assert month["makes_p50"].mean() == pytest.approx(5 * 28, rel=0.1)
    assert (month["makes_p90"] - month["makes_p10"] > 10).all()


def test_intervals_hold_what_they_promise_on_days_that_were_held_back() -> None:
    world = steady_world(2.5, 150, seed=4)
    known = {place: {b - 28: c for b, c in days.items() if b >= 28} for place, days in world.items()}
    said = forecast_demand(demand(known), AS_OF)
    month = said[said["days_ahead"] == 28].set_index("city")
    came = pd.Series({place[2]: sum(c for b, c in days.items() if b < 28) for place, days in world.items()})
    came = came.reindex(month.index)
    inside = (came >= month["makes_p10"] - 0.5) & (came <= month["makes_p90"] + 0.5)
    # 80% of 150, give or take three binomial standard errors.
    assert 0.70 <= inside.mean() <= 0.91


def test_a_burst_that_is_over_does_not_go_on_for_ever() -> None:
    quiet = steady_world(1, 20)
    burst = dict(quiet[("Artist", "Germany", "City 0")])
    burst |= dict.fromkeys(range(100, 103), 300)
    said = forecast_demand(demand({**quiet, ("Artist", "Germany", "City 0"): burst}), AS_OF)
    week = said[(said["days_ahead"] == 7) & (said["city"] == "City 0")].iloc[0]
    assert week["makes_p50"] < 100


@pytest.mark.parametrize("days", [{0: 1}, {90: 1}, {399: 1}, {0: 50_000}, dict.fromkeys(range(400), 1)])
def test_sparse_and_extreme_places_get_a_bounded_forecast(days: dict[int, int]) -> None:
    said = forecast_demand(demand({("Artist", "Japan", "Osaka"): days}), AS_OF)
    assert np.isfinite(said[COUNTS].to_numpy()).all()
    assert (said["makes_p10"] >= 0).all()
    assert (said["makes_p90"] <= 30 * 50_000 * 84).all()
    assert said["method_reason"].str.contains("past forecasts").all()


def test_what_comes_later_is_refused_and_changes_nothing() -> None:
    world = demand(steady_world(2, 5))
    earlier = date(2026, 6, 1)
    with pytest.raises(ValueError, match=r"2026-06-30.*after the as-of date 2026-06-01"):
        forecast_demand(world, earlier)
    known = world[world["demand_date"] <= pd.Timestamp(earlier)]
    pd.testing.assert_frame_equal(forecast_demand(known, earlier), forecast_demand(known.sample(frac=1), earlier))


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["A", "B"]), st.sampled_from(["X", "Y"]), st.sampled_from(["c", "d", "e"])),
        st.dictionaries(st.integers(0, 500), st.integers(1, 10_000), min_size=1, max_size=20),
        min_size=1,
        max_size=8,
    )
)
def test_quantiles_are_ordered_and_fans_never_fall(counts: dict[tuple[str, str, str], dict[int, int]]) -> None:
    said = forecast_demand(demand(counts), AS_OF)
    makes = said[COUNTS].to_numpy()
    assert np.isfinite(makes).all()
    assert (np.diff(makes, axis=1) >= 0).all()
    assert (said["fans_p10"] >= said["fans_so_far"]).all()
    assert len(said) == len(counts) * len(HORIZONS)
