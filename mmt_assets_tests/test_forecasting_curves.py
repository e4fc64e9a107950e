"""The pooled curve, refunds and pick-up recover what a known world was made of."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from mmt_assets.forecasting import curves, prophet_component
from mmt_assets.forecasting.engines import ProphetBatch, ProphetForecast, fit_and_forecast
from mmt_assets.forecasting.history import History, at_origin, build_history
from mmt_assets.forecasting.inputs import (
    CONCERT_COLUMNS,
    Engine,
    ForecastInputs,
    ForecastOptions,
    epoch_day,
    read_concerts,
    read_sales,
)
from mmt_assets.forecasting.model import forecast
from mmt_assets.forecasting.refunds import fit_refunds, net_path, survival

AS_OF = date(2024, 6, 30)
LENGTH = 60


def shape(length: int, opening: float = 5.0) -> np.ndarray:
    age = np.arange(length + 1)
    rate = opening * np.exp(-age / 3) + 0.5 + 3 * np.exp(-(length - age) / 6)
    return rate / rate.sum()


def world(
    seed: int, finished: int, active: int = 0, *, refunds: float = 0.0, two_countries: bool = False
) -> tuple[ForecastInputs, pd.Series]:
    """A world with demand that explains levels; also the final totals."""
    rng = np.random.default_rng(seed)
    concerts, sales, fans, finals = [], [], [], {}
    for i in range(finished + active):
        name = f"c{i:04d}"
        show = -1 - (finished - i) * 2 if i < finished else int(rng.integers(10, 50))
        level = float(np.exp(rng.normal(5.5, 0.8)))
        fans.append((name, "KR", "Seoul", int(level * np.exp(rng.normal(0, 0.4))) + 1))
        country = "JP" if two_countries and i % 2 else "KR"
        rate = shape(LENGTH, 0.5 if country == "JP" else 5.0)
        tickets = rng.poisson(rng.gamma(6, level / 6) * rate)
        finals[name] = float(tickets.sum())
        held = 0
        for age, sold in enumerate(tickets):
            day, back = show - LENGTH + age, int(rng.binomial(held, refunds))
            held += int(sold) - back
            if day <= 0:
                sales.append((name, AS_OF + timedelta(day), int(sold), back))
        status = "completed" if show < 0 else "on_sale"
        on_sale, on_show = AS_OF + timedelta(show - LENGTH), AS_OF + timedelta(show)
        concerts.append((name, name, "Seoul", country, "Hall", np.nan, on_sale, on_show, status, "KRW"))
    frames = ForecastInputs(
        pd.DataFrame(concerts, columns=list(CONCERT_COLUMNS)),
        pd.DataFrame(sales, columns=["concert_id", "sales_date", "tickets_sold", "tickets_refunded"]),
        pd.DataFrame(fans, columns=["artist", "country", "city", "fans_count"]),
    )
    return frames, pd.Series(finals)


def history_of(inputs: ForecastInputs) -> History:
    concerts = read_concerts(inputs)
    return build_history(concerts, read_sales(inputs, concerts, epoch_day(AS_OF)), np.arange(len(concerts.ids)))


def test_the_curve_of_a_known_world_is_recovered() -> None:
    origin = at_origin(history_of(world(1, 200)[0]), epoch_day(AS_OF), LENGTH)
    days_out = np.arange(LENGTH + 1)
    found = curves.fit_curve(origin).on(origin.sale_days[:1], origin.history.concerts.show[:1], days_out)[0]
    truth = shape(LENGTH)[::-1]
    # Compared week by week: weekdays are estimated too.
    weeks = np.add.reduceat(found / found.sum(), np.arange(0, LENGTH, 7))
    assert np.abs(weeks - np.add.reduceat(truth, np.arange(0, LENGTH, 7))).max() < 0.015


def test_segments_are_found_where_curves_differ_and_only_there() -> None:
    for two_countries, expected in ((True, "country"), (False, "none")):
        origin = at_origin(history_of(world(2, 300, two_countries=two_countries)[0]), epoch_day(AS_OF), LENGTH)
        assert curves.choose_segmentation(origin, np.arange(300))[0] == expected


def test_days_after_a_sell_out_do_not_teach_the_curve() -> None:
    inputs = world(3, 40)[0]
    sold = inputs.sales.groupby("concert_id")["tickets_sold"].cumsum()
    inputs.concerts["capacity"] = inputs.concerts["concert_id"].map(
        inputs.sales.groupby("concert_id")["tickets_sold"].sum() // 2
    )
    origin = at_origin(history_of(inputs), epoch_day(AS_OF), LENGTH)
    before = (sold < inputs.sales["concert_id"].map(inputs.concerts.set_index("concert_id")["capacity"])).sum()
    assert origin.open.sum() == before
    assert origin.sold_out.all()


def test_refund_rates_are_recovered_and_net_follows_them() -> None:
    origin = at_origin(history_of(world(4, 150, refunds=0.02)[0]), epoch_day(AS_OF), LENGTH)
    rates = fit_refunds(origin)
    assert rates.on(np.array([3, 20, 50])) == pytest.approx([0.02] * 3, rel=0.15)
    kept = survival(rates, np.ones(1), np.array([10]), 10)
    path = net_path(np.array([100.0]), np.zeros((1, 10)), kept)
    assert path[0, 0] == pytest.approx(100 * 0.98**10, rel=0.05)
    assert (np.diff(path[0]) >= 0).all()


def test_booking_curves_frame_covers_every_bucket_once() -> None:
    result = forecast(world(5, 60, 2)[0], AS_OF, options=ForecastOptions(origins=4))
    frame = result.booking_curves
    for (_, dimension), part in frame.groupby(["segment", "dimension"]):
        part = part.sort_values("bucket_start")  # noqa: PLW2901
        assert (part["bucket_start"].to_numpy()[1:] == part["bucket_end"].to_numpy()[:-1] + 1).all()
        assert part["intensity"].mean() == pytest.approx(1.0)
        assert dimension in ("days_since_on_sale", "days_to_show", "weekday")


@pytest.mark.parametrize("engine", ["map", "none"])
def test_the_forecast_beats_plain_means(engine: Engine) -> None:
    inputs, finals = world(6, 300, 60)
    outlook = forecast(inputs, AS_OF, options=ForecastOptions(engine=engine)).outlook.set_index("concert_id")
    actual = finals[outlook.index]
    error = (outlook["final_p50"] - actual).abs().sum()
    running_rate = outlook["sold"] * LENGTH / (LENGTH - outlook["days_to_show"])
    pooled_mean = finals[inputs.concerts.query("status == 'completed'")["concert_id"]].mean()
    assert error < 0.6 * (running_rate - actual).abs().sum()
    assert error < 0.4 * (pooled_mean - actual).abs().sum()
    covered = actual.between(outlook["final_p10"] - 0.5, outlook["final_p90"] + 0.5).mean()
    assert 0.65 <= covered <= 0.95


def test_stan_and_map_give_the_same_prophet_forecast() -> None:
    rng = np.random.default_rng(7)
    days = np.arange(19800, 19860)
    batch = ProphetBatch(
        offsets=np.array([0, 60]),
        days=days,
        values=rng.normal(0, 1, 60),
        regressors=np.abs(rng.normal(0, 1, (60, 3))),
        future_offsets=np.array([0, 10]),
        future_days=days[-1] + 1 + np.arange(10),
        future_regressors=np.abs(rng.normal(0, 1, (10, 3))),
    )
    stan, fast = (fit_and_forecast(batch, engine) for engine in ("stan", "map"))
    assert not stan.failures
    np.testing.assert_allclose(stan.values, fast.values, atol=0.02)


def test_one_failing_concert_falls_back_to_the_pooled_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_a_failure(batch: ProphetBatch, *_: object, **__: object) -> ProphetForecast:
        values = np.zeros(len(batch.future_days))
        values[batch.future_offsets[1] : batch.future_offsets[2]] = np.nan
        return ProphetForecast(values, {1: "the fit failed"})

    monkeypatch.setattr(prophet_component, "fit_and_forecast", with_a_failure)
    outlook = forecast(world(8, 60, 5)[0], AS_OF, options=ForecastOptions(origins=4)).outlook
    assert outlook["method"].iloc[1] == "pooled_prior"
    assert outlook["method_reason"].iloc[1] == "prophet_pooled failed: the fit failed"
    assert (outlook["method"] == "blend").sum() == len(outlook) - 1
    assert np.isfinite(outlook["final_p50"]).all()


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ValueError, match="not one of map, stan, none"):
        ForecastOptions(engine="magic")  # pyright: ignore[reportArgumentType]
