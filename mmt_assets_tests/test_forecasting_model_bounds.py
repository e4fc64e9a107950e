"""Bounds, honesty and edge cases of the forecast, on small random worlds."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mmt_assets.forecasting import components, outlook
from mmt_assets.forecasting.chunks import OUTLOOK_COLUMNS
from mmt_assets.forecasting.history import Origin
from mmt_assets.forecasting.inputs import Floats, ForecastInputs, ForecastOptions, ForecastResult
from mmt_assets.forecasting.model import forecast

AS_OF = date(2024, 6, 30)
OPTIONS = ForecastOptions(origins=6)
ODD_CAPACITY = 4321.0
NO_DEMAND = pd.DataFrame(columns=["artist", "country", "city", "fans_count"])


def concert(concert_id: str, on_sale: int | None, show: int, **more: object) -> dict[str, object]:
    """One concert; on_sale and show are days relative to the as-of date."""
    status = "completed" if show < 0 else "announced" if on_sale is None or on_sale > 0 else "on_sale"
    base = {"artist": "A", "city": "Seoul", "country": "KR", "venue": None, "capacity": 500.0, "currency": "KRW"}
    return {
        "concert_id": concert_id,
        **base,
        "on_sale_date": None if on_sale is None else AS_OF + timedelta(on_sale),
        "show_date": AS_OF + timedelta(show),
        "status": status,
        **more,
    }


def sale(concert_id: str, day: int, sold: int, refunded: int = 0) -> tuple[str, date, int, int]:
    return concert_id, AS_OF + timedelta(day), sold, refunded


def inputs(concerts: list[dict[str, object]], sales: list[tuple[str, date, int, int]]) -> ForecastInputs:
    columns = ["concert_id", "sales_date", "tickets_sold", "tickets_refunded"]
    return ForecastInputs(pd.DataFrame(concerts), pd.DataFrame(sales, columns=columns), NO_DEMAND)


def world(seed: int, finished: int = 60, active: int = 8, refunds: float = 0.03) -> ForecastInputs:
    """Concerts with a busy opening, a slow middle and a rush at the end."""
    rng = np.random.default_rng(seed)
    concerts, sales = [], []
    for i in range(finished + active):
        length = int(rng.integers(20, 80))
        show = int(rng.integers(-300, -1)) if i < finished else int(rng.integers(0, length))
        capacity = float(rng.integers(50, 800)) if rng.random() < 0.8 else np.nan
        concerts.append(
            concert(f"c{i:03d}", show - length, show, artist=f"artist {i % 7}", city=f"city {i % 3}", capacity=capacity)
        )
        age = np.arange(length + 1)
        shape = 4 * np.exp(-age / 3) + 0.4 + 2 * np.exp(-(length - age) / 6)
        tickets = rng.poisson(rng.gamma(3, 80) * shape / shape.sum())
        held = 0
        for day, sold in zip(show - length + age, tickets, strict=True):
            fits = int(sold) if np.isnan(capacity) else int(min(sold, capacity - held))
            back = int(rng.binomial(held, refunds))
            held += fits - back
            if day <= 0 and fits + back:
                sales.append(sale(f"c{i:03d}", int(day), fits, back))
    return inputs(concerts, sales)


def check_bounds(result: ForecastResult) -> None:
    outlook, paths = result.outlook.set_index("concert_id"), result.ticket_sales
    assert list(result.outlook.columns) == list(OUTLOOK_COLUMNS)
    numbers = paths.select_dtypes("number").to_numpy()
    assert np.isfinite(numbers).all()
    row = outlook.loc[paths["concert_id"]]
    limit = np.maximum(row["capacity"].fillna(np.inf).to_numpy(), row["sold"].to_numpy())
    for name in ("tickets", "cumulative_tickets", "cumulative_gross_tickets"):
        low, middle, high = (paths[f"{name}_p{level}"].to_numpy() for level in (10, 50, 90))
        assert (low <= middle + 1e-6).all()
        assert (middle <= high + 1e-6).all()
        if name == "cumulative_tickets":
            assert (low >= 0).all()
            assert (high <= limit + 1e-6).all()
        if name == "cumulative_gross_tickets":
            assert (low >= row["gross_sold"].to_numpy() - 1e-6).all()
            steps = paths.groupby("concert_id")[f"{name}_p50"].diff().dropna()
            assert (steps >= -1e-6).all()
    assert (outlook["final_p10"] <= outlook["final_p50"]).all()
    assert (outlook["final_p50"] <= outlook["final_p90"]).all()
    chance = outlook["sell_out_probability"]
    assert (chance.isna() == outlook["capacity"].isna()).all()
    assert chance.dropna().between(0, 1).all()
    last = paths.groupby("concert_id").last()
    pd.testing.assert_series_equal(
        last["cumulative_tickets_p50"], outlook.loc[last.index, "final_p50"], check_names=False, atol=1e-6
    )
    days = paths.groupby("concert_id").size()
    assert (days == outlook.loc[days.index, "days_to_show"]).all()
    assert (paths["sales_date"] > pd.Timestamp(AS_OF)).all()


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@example(seed=1647, finished=60, refunds=0.02)
@given(seed=st.integers(0, 10_000), finished=st.sampled_from([0, 1, 7, 60]), refunds=st.sampled_from([0.0, 0.02, 0.3]))
def test_bounds_hold_in_random_worlds(seed: int, finished: int, refunds: float) -> None:
    check_bounds(forecast(world(seed, finished, 6, refunds), AS_OF, options=OPTIONS))


def test_rows_after_the_as_of_date_are_refused() -> None:
    given_world = world(1)
    late = pd.concat(
        [given_world.sales, pd.DataFrame([sale("c000", 1, 5)], columns=given_world.sales.columns)], ignore_index=True
    )
    with pytest.raises(ValueError, match="after the as-of date"):
        forecast(ForecastInputs(given_world.concerts, late, NO_DEMAND), AS_OF, options=OPTIONS)


def test_alone_equals_together_and_twice_equals_once() -> None:
    given_world = world(2)
    together = forecast(given_world, AS_OF, options=OPTIONS)
    again = forecast(given_world, AS_OF, options=OPTIONS)
    pd.testing.assert_frame_equal(together.outlook, again.outlook)
    pd.testing.assert_frame_equal(together.ticket_sales, again.ticket_sales)
    for concert_id in together.outlook["concert_id"].iloc[:3]:
        alone = forecast(given_world, AS_OF, options=OPTIONS, concert_ids=[concert_id])
        expected = together.outlook[together.outlook["concert_id"] == concert_id].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone.outlook, expected, rtol=1e-6)
        path = together.ticket_sales[together.ticket_sales["concert_id"] == concert_id].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone.ticket_sales, path, rtol=1e-6, atol=2e-4)


def test_order_of_input_rows_does_not_matter() -> None:
    given_world = world(3)
    shuffled = ForecastInputs(
        given_world.concerts.sample(frac=1, random_state=1),
        given_world.sales.sample(frac=1, random_state=2),
        given_world.demand,
    )
    one, other = (forecast(w, AS_OF, options=OPTIONS).outlook for w in (given_world, shuffled))
    pd.testing.assert_frame_equal(one, other, rtol=1e-6)


EdgeCase = Callable[[], tuple[dict[str, object], list[tuple[str, date, int, int]]]]
EDGE_CASES: dict[str, EdgeCase] = {
    "no sales yet": lambda: (concert("x", -5, 40), []),
    "not on sale, date known": lambda: (concert("x", 10, 60), []),
    "not on sale, date unknown": lambda: (concert("x", None, 60), []),
    "unknown capacity": lambda: (concert("x", -20, 20, capacity=np.nan), [sale("x", -20, 30)]),
    "second on-sale after weeks": lambda: (
        concert("x", -30, 30),
        [sale("x", -30, 400), sale("x", -3, 60), sale("x", -2, 20)],
    ),
    "one sale": lambda: (concert("x", -20, 20), [sale("x", -11, 1)]),
    "all zeros": lambda: (concert("x", -20, 20), [sale("x", day, 0) for day in range(-20, 1)]),
    "constant": lambda: (concert("x", -20, 20), [sale("x", day, 5) for day in range(-20, 1)]),
    "sold out on day one": lambda: (concert("x", -20, 20), [sale("x", -20, 500)]),
    "capacity 0": lambda: (concert("x", -20, 20, capacity=0.0), [sale("x", -20, 30)]),
    "oversold": lambda: (concert("x", -10, 10), [sale("x", -10, 700)]),
    "refunds above sales": lambda: (concert("x", -10, 10), [sale("x", -10, 5), sale("x", -3, 0, 50)]),
    "one huge day": lambda: (concert("x", -10, 10, capacity=1e6), [sale("x", 0, 500_000)]),
    "show today": lambda: (concert("x", -30, 0), [sale("x", -30, 100), sale("x", 0, 7)]),
    "show tomorrow": lambda: (concert("x", -30, 1), [sale("x", -30, 100)]),
    "show in 500 days": lambda: (concert("x", -30, 500), [sale("x", -30, 100)]),
    "on sale for 700 days": lambda: (concert("x", -700, 5), [sale("x", -690, 100), sale("x", -1, 3)]),
    "orders before on-sale": lambda: (concert("x", 5, 30), [sale("x", -3, 12)]),
    "on-sale after the show": lambda: (concert("x", 40, 30), []),
}


@pytest.mark.parametrize("finished", [0, 60])
@pytest.mark.parametrize("name", list(EDGE_CASES))
def test_edge_case(name: str, finished: int) -> None:
    extra, sales = EDGE_CASES[name]()
    base = world(4, finished, 3) if finished else inputs([concert("other", -9, 9)], [sale("other", -9, 3)])
    both = ForecastInputs(
        pd.concat([base.concerts, pd.DataFrame([extra])], ignore_index=True),
        pd.concat([base.sales, pd.DataFrame(sales, columns=base.sales.columns)], ignore_index=True),
        NO_DEMAND,
    )
    result = forecast(both, AS_OF, options=OPTIONS)
    check_bounds(result)
    assert "x" in set(result.outlook["concert_id"])


def test_twelve_thousand_sparse_events_are_forecast_within_their_bounds() -> None:
    base, rng = world(5, 60, 0), np.random.default_rng(9)
    extra = [concert(f"s{i}", -int(rng.integers(0, 60)), int(rng.integers(0, 60))) for i in range(12_000)]
    sold = [sale(f"s{i}", -int(rng.integers(0, 30)), 1) for i in np.flatnonzero(rng.random(12_000) < 0.3)]
    both = ForecastInputs(
        pd.concat([base.concerts, pd.DataFrame(extra)], ignore_index=True),
        pd.concat([base.sales, pd.DataFrame(sold, columns=base.sales.columns)], ignore_index=True),
        NO_DEMAND,
    )
    # Two processes: a large day's way.
    result = forecast(both, AS_OF, options=ForecastOptions(origins=3, processes=2))
    check_bounds(result)
    assert len(result.outlook) == 12_000
    few = forecast(both, AS_OF, options=ForecastOptions(origins=3), concert_ids=["s0", "s1", "s11999"])
    same = result.outlook.set_index("concert_id").loc[few.outlook["concert_id"]].reset_index()
    pd.testing.assert_frame_equal(same, few.outlook, check_dtype=False)


def break_models(monkeypatch: pytest.MonkeyPatch, concert_id: str, *, prior_too: bool = False) -> None:
    """Make every forecast that holds this concert fail: no input is known that does."""
    learned_paths, forecast_concert = components.learned_paths, outlook.forecast_concert

    def broken(knowledge: components.Knowledge, origin: Origin, *more: Floats) -> dict[str, Floats]:
        if concert_id in origin.history.concerts.ids:
            raise FloatingPointError("a number that nobody thought of")
        return learned_paths(knowledge, origin, *more)

    def unpublished(*values: Floats, capacity: float, **more: Any) -> outlook.ConcertForecast:
        if capacity == ODD_CAPACITY:
            raise ZeroDivisionError("nor of this one")
        return forecast_concert(*values, capacity=capacity, **more)

    monkeypatch.setattr(components, "learned_paths", broken)
    if prior_too:
        monkeypatch.setattr(outlook, "forecast_concert", unpublished)


@pytest.mark.parametrize("prior_too", [False, True])
def test_one_concert_that_breaks_every_model_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch, *, prior_too: bool
) -> None:
    base = world(6)
    odd = concert("odd", -10, 20, capacity=ODD_CAPACITY)
    both = replace(base, concerts=pd.concat([base.concerts, pd.DataFrame([odd])], ignore_index=True))
    whole = forecast(both, AS_OF, options=OPTIONS)
    break_models(monkeypatch, "odd", prior_too=prior_too)
    result = forecast(both, AS_OF, options=OPTIONS)

    def others(of: ForecastResult) -> pd.DataFrame:
        return of.outlook[of.outlook["concert_id"] != "odd"].reset_index(drop=True)

    pd.testing.assert_frame_equal(others(result), others(whole), rtol=1e-6)
    assert len(others(result)) == len(whole.outlook) - 1
    check_bounds(result)
    if prior_too:
        assert list(result.failures) == ["odd"]
        assert (
            "FloatingPointError: a number that nobody thought of; then with the prior alone ZeroDivisionError"
            in (result.failures["odd"])
        )
        return
    said = result.outlook.loc[result.outlook["concert_id"] == "odd", ["method", "method_reason"]].to_numpy().tolist()
    assert said == [["pooled_prior", "every other model failed: FloatingPointError: a number that nobody thought of"]]
    assert result.failures == {}


def test_a_show_on_the_as_of_date_ends_with_what_is_sold() -> None:
    result = forecast(inputs([concert("x", -30, 0)], [sale("x", -30, 107, 0)]), AS_OF, options=OPTIONS)
    row = result.outlook.iloc[0]
    assert (row["final_p10"], row["final_p50"], row["final_p90"]) == (107, 107, 107)
    assert result.ticket_sales.empty


def test_a_cancelled_concert_falls_to_zero_and_is_not_active() -> None:
    cancelled = concert("x", -30, 20, status="cancelled")
    given_world = inputs([cancelled, concert("y", -5, 20)], [sale("x", -30, 100), sale("y", -5, 9)])
    assert list(forecast(given_world, AS_OF, options=OPTIONS).outlook["concert_id"]) == ["y"]
    result = forecast(given_world, AS_OF, options=OPTIONS, concert_ids=["x"])
    assert result.outlook.iloc[0]["status_flag"] == "cancelled"
    assert (result.ticket_sales["cumulative_tickets_p90"] == 0).all()
    assert (result.ticket_sales["cumulative_gross_tickets_p10"] >= 100).all()


def test_an_empty_pool_says_so_and_is_wide() -> None:
    row = forecast(inputs([concert("x", -9, 20)], [sale("x", -9, 50)]), AS_OF, options=OPTIONS).outlook.iloc[0]
    assert row["method"] == "own_sales"
    assert "0 finished concerts" in row["method_reason"]
    assert row["final_p90"] > row["final_p10"] + 20


def test_no_active_concerts_gives_empty_frames_with_columns() -> None:
    result = forecast(inputs([concert("x", -40, -5)], [sale("x", -40, 50)]), AS_OF, options=OPTIONS)
    assert result.outlook.empty
    assert result.ticket_sales.empty
    assert "cumulative_gross_tickets_p90" in result.ticket_sales


def test_unknown_and_finished_ids_are_refused() -> None:
    given_world = inputs([concert("x", -40, -5)], [])
    for concert_id in ("x", "nobody"):
        with pytest.raises(ValueError, match=concert_id):
            forecast(given_world, AS_OF, options=OPTIONS, concert_ids=[concert_id])


def test_malformed_frames_are_refused() -> None:
    good = concert("x", -5, 5)
    with pytest.raises(ValueError, match="more than once"):
        forecast(inputs([good, good], []), AS_OF, options=OPTIONS)
    with pytest.raises(ValueError, match="status"):
        forecast(inputs([{**good, "status": "maybe"}], []), AS_OF, options=OPTIONS)
    bad = ForecastInputs(pd.DataFrame([good]).drop(columns="venue"), inputs([], []).sales, NO_DEMAND)
    with pytest.raises(ValueError, match="missing columns"):
        forecast(bad, AS_OF, options=OPTIONS)
