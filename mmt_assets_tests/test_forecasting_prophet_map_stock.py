"""Agreement with stock Prophet: log posteriors, interval widths, loaded `Prophet` objects."""

import numpy as np
import pandas as pd
import pytest

from mmt_assets.forecasting.prophet_map import (
    ProphetSpec,
    Regressor,
    Seasonality,
    SeriesBatch,
    fit,
    log_posterior,
    predict,
    value_scales,
)
from mmt_assets.forecasting.prophet_map.stock import fit_stan, series_frame, to_prophet

WEEKLY = Seasonality("weekly", 7, 3)
MULTIPLICATIVE = Seasonality("weekly", 7, 3, mode="multiplicative")
REGRESSORS = tuple(Regressor(name) for name in ("on_sale", "show", "news"))
SPECS = {
    "flat_regressors": ProphetSpec("flat", (WEEKLY,), REGRESSORS),
    "linear_weekly": ProphetSpec("linear", (WEEKLY,)),
    "linear_regressors": ProphetSpec("linear", (WEEKLY,), REGRESSORS),
    "logistic": ProphetSpec("logistic", (WEEKLY,)),
    "flat_multiplicative": ProphetSpec("flat", (MULTIPLICATIVE,), (Regressor("on_sale", mode="multiplicative"),)),
    "linear_multiplicative": ProphetSpec("linear", (MULTIPLICATIVE,)),
    "linear_mixed": ProphetSpec("linear", (MULTIPLICATIVE,), (Regressor("on_sale"),)),
}


def concerts(spec: ProphetSpec, lengths: list[int], seed: int) -> SeriesBatch:
    """Daily bookings with a rush at the on-sale and one before the show; cumulative for logistic growth."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    days, values, caps, regressors = [], [], [], []
    for size in lengths:
        age = np.arange(size)
        day = rng.integers(19_000, 20_000) + age
        week = 1 + 0.3 * np.isin(day % 7, (1, 2))
        rate = rng.uniform(3, 40) * (5 * np.exp(-age / 4) + 1 + 2 * np.exp((age - size) / 8)) * week
        value = rng.poisson(rng.gamma(5, rate / 5)).astype(float)
        if spec.growth == "logistic":
            middle, width = rng.uniform(0.25, 0.75) * size, rng.uniform(0.07, 0.2) * size
            path = rng.integers(300, 5000) / (1 + np.exp((middle - age) / width))
            value = np.cumsum(rng.poisson(np.diff(path, prepend=0) * week)).astype(float)
        days.append(day)
        values.append(value)
        caps.append(np.full(size, value[-1] * rng.uniform(1.05, 2) + 1))
        news = (np.abs(age - size // 2) < 3) * rng.uniform(0.5, 2)
        regressors.append(np.column_stack([np.exp(-age / 4), np.exp((age - size) / 8), news]))
    return SeriesBatch(
        offsets,
        np.concatenate(days),
        np.concatenate(values),
        np.concatenate(caps) if spec.growth == "logistic" else None,
        np.concatenate(regressors)[:, : len(spec.regressors)] if spec.regressors else None,
    )


def ahead(spec: ProphetSpec, batch: SeriesBatch, horizon: int) -> SeriesBatch:
    last = batch.offsets[1:] - 1
    days = (batch.days[last][:, None] + np.arange(1, horizon + 1)).ravel()
    return SeriesBatch(
        np.arange(batch.n_series + 1) * horizon,
        days,
        None,
        None if batch.cap is None else np.repeat(batch.cap[last], horizon),
        np.full((days.size, len(spec.regressors)), 0.2) if spec.regressors else None,
    )


@pytest.mark.parametrize("name", ["flat_regressors", "linear_weekly", "linear_regressors"])
def test_never_below_stan(name: str) -> None:
    spec = SPECS[name]
    batch = concerts(spec, [28, 35, 60, 90, 99, 120, 150, 41, 75, 110], seed=11)
    ours, stan = log_posterior(fit(spec, batch)), log_posterior(fit_stan(spec, batch))
    assert ((ours - stan) >= -1e-6 * np.abs(stan)).all()


@pytest.mark.parametrize("name", ["flat_multiplicative", "linear_multiplicative", "linear_mixed"])
def test_multiplicative_is_hardly_ever_below_stan(name: str) -> None:
    """Trend times season is not convex: as with logistic growth, both can end in another maximum."""
    spec = SPECS[name]
    batch = concerts(spec, [28, 40, 60, 80, 90, 120, 150, 35, 75, 110] * 3, seed=16)
    ours, stan = log_posterior(fit(spec, batch)), log_posterior(fit_stan(spec, batch))
    assert ((ours - stan) < -0.01).mean() <= 0.02


def test_logistic_is_hardly_ever_below_stan() -> None:
    spec = SPECS["logistic"]
    batch = concerts(spec, [40, 60, 80, 90, 120] * 5, seed=12)
    ours, stan = log_posterior(fit(spec, batch)), log_posterior(fit_stan(spec, batch))
    assert ((ours - stan) < -0.01).mean() <= 0.02


def test_pooled_prior_specification_agrees_with_stan() -> None:
    """Flat growth, unstandardised regressors with a prior per series in value units, 28 pseudo rows."""
    extra = tuple(Regressor(name, standardize=False) for name in ("level", "launch", "close"))
    spec = ProphetSpec("flat", (Seasonality("weekly", 7, 3, 0.02),), extra)
    rng = np.random.default_rng(13)
    lengths = np.array([28, 29, 35, 60, 100])
    expected = [np.concatenate([np.zeros(28), rng.gamma(2, 10) * np.exp(-np.arange(n - 28) / 20)]) for n in lengths]
    days = np.concatenate([19_500 + np.arange(n) for n in lengths])
    level = np.concatenate([path / np.sqrt(path + 0.5) for path in expected])
    age = np.concatenate([np.arange(n) - 28.0 for n in lengths])
    regressors = np.column_stack([level, level * np.exp(-np.abs(age) / 6), level * np.exp(-np.abs(age - 60) / 8)])
    values = rng.normal(size=days.size) * np.where(age < 0, 0.3, 1.5)
    bare = SeriesBatch(np.concatenate(([0], np.cumsum(lengths))), days, values, None, regressors)
    scales = np.array([[0.3, 0.5, 0.5]]) / value_scales(bare)[:, None]
    batch = SeriesBatch(bare.offsets, days, values, None, regressors, regressor_prior_scales=scales)
    fitted, stan = fit(spec, batch), fit_stan(spec, batch)
    assert (log_posterior(fitted) >= log_posterior(stan) - 1e-6).all()
    np.testing.assert_allclose(fitted.beta, stan.beta, atol=2e-3)
    assert not np.allclose(fitted.beta, fit(spec, bare).beta, atol=2e-3)


@pytest.mark.parametrize("name", list(SPECS))
def test_loaded_prophet_predicts_the_same(name: str) -> None:
    spec = SPECS[name]
    batch = concerts(spec, [50, 8, 3, 90], seed=14)
    fitted = fit(spec, batch)
    future = ahead(spec, batch, 20)
    for days in (batch, future):
        mean = predict(fitted, days).mean
        for index in range(batch.n_series):
            found = to_prophet(fitted, index).predict(series_frame(spec, days, index))["yhat"].to_numpy()
            expected = mean[days.offsets[index] : days.offsets[index + 1]]
            assert np.isfinite(expected).all()
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * fitted.y_scale[index])


def test_loaded_prophet_has_components_and_changepoints() -> None:
    spec = SPECS["linear_regressors"]
    batch = concerts(spec, [80], seed=15)
    fitted = fit(spec, batch)
    model = to_prophet(fitted, 0)
    forecast = model.predict(series_frame(spec, batch, 0))
    assert {"trend", "weekly", "on_sale", "show", "news"} <= set(forecast.columns)
    np.testing.assert_array_equal(model.changepoints_t, fitted.changepoints[0])
    assert [model.extra_regressors[part.name]["std"] for part in REGRESSORS] == pytest.approx(fitted.spread[0])
    assert isinstance(model.history, pd.DataFrame)


@pytest.mark.parametrize(
    ("name", "tolerance"), [("linear_weekly", 0.02), ("flat_regressors", 0.02), ("logistic", 0.12)]
)
def test_interval_widths_are_those_that_prophet_samples(name: str, tolerance: float) -> None:
    spec = SPECS[name]
    batch = concerts(spec, [60, 100, 140], seed=16)
    fitted = fit(spec, batch)
    future = ahead(spec, batch, 30)
    quantiles = predict(fitted, future, (0.1, 0.9)).quantiles
    width = (quantiles[:, 1] - quantiles[:, 0]).reshape(3, 30)
    np.random.seed(0)  # noqa: NPY002  Prophet draws from the global generator
    for index in range(3):
        sampled = to_prophet(fitted, index, uncertainty_samples=20_000).predict(series_frame(spec, future, index))
        expected = (sampled["yhat_upper"] - sampled["yhat_lower"]).to_numpy()
        assert abs(np.mean(width[index] / expected - 1)) <= tolerance / 2
        np.testing.assert_allclose(width[index], expected, rtol=tolerance + 0.01)  # 0.01: sampling error
