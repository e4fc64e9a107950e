"""The objective and its optimum, checked against a literal transcription of prophet.stan in numpy."""

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mmt_assets.forecasting.prophet_map import (
    FitStatus,
    FittedBatch,
    ProphetSpec,
    Regressor,
    Seasonality,
    SeriesBatch,
    fit,
    log_posterior,
    predict,
    value_scales,
)
from mmt_assets.forecasting.prophet_map.specification import Growth, Mode

WEEKLY = Seasonality("weekly", 7, 3)
SETTINGS = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def design_of(fitted: FittedBatch, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Feature matrix, prior scales and multiplicative flags of one series, written column by column."""
    spec, batch = fitted.spec, fitted.history
    rows = slice(batch.offsets[index], batch.offsets[index + 1])
    columns, scales, multiplicative = [], [], []
    for part in spec.seasonalities:
        for order in range(1, part.fourier_order + 1):
            for function in (np.sin, np.cos):
                columns.append(function(2 * np.pi * order * batch.days[rows] / part.period))
                scales.append(part.prior_scale)
                multiplicative.append(part.mode == "multiplicative")
    for place, part in enumerate(spec.regressors):
        assert batch.regressors is not None
        x = batch.regressors[rows, place]
        binary = set(np.unique(x)) <= {0.0, 1.0}
        if part.standardize is True or (part.standardize == "auto" and not binary):
            x = (x - x.mean()) / x.std(ddof=1) if x.size and np.ptp(x) > 0 else x
        columns.append(x)
        own = batch.regressor_prior_scales
        scales.append(part.prior_scale if own is None else own[index, place])
        multiplicative.append(part.mode == "multiplicative")
    design = np.array(columns).T if columns else np.zeros((rows.stop - rows.start, 0))
    return design, np.array(scales), np.array(multiplicative, dtype=bool)


def stan_trend(growth: str, params: dict, t: np.ndarray, cap: np.ndarray | None) -> np.ndarray:
    """prophet.stan: flat_trend, linear_trend, logistic_trend with its gamma recursion."""
    k, m, delta, places = params["k"], params["m"], params["delta"], params["changepoints"]
    after = (t[:, None] >= places[None, :]).astype(float)
    if growth == "flat":
        return np.full(t.size, m)
    if growth == "linear":
        return (k + after @ delta) * t + (m + after @ (-places * delta))
    rates = np.concatenate(([k], k + np.cumsum(delta)))
    gamma, offset = np.zeros(delta.size), m
    for j in range(delta.size):
        gamma[j] = (places[j] - offset) * (1 - rates[j] / rates[j + 1])
        offset += gamma[j]
    assert cap is not None
    return cap / (1 + np.exp(-(k + after @ delta) * (t - (m + after @ gamma))))


def parameters(fitted: FittedBatch, index: int) -> dict:
    count = fitted.changepoint_counts[index]
    return {
        "k": fitted.k[index],
        "m": fitted.m[index],
        "delta": fitted.delta[index, :count],
        "beta": fitted.beta[index],
        "sigma": fitted.sigma_obs[index],
        "changepoints": fitted.changepoints[index, : fitted.delta[index, :count].size],
    }


def stan_log_posterior(fitted: FittedBatch, index: int, params: dict) -> float:
    """prophet.stan's model block with the constants that `~` drops left out."""
    spec, batch = fitted.spec, fitted.history
    rows = slice(batch.offsets[index], batch.offsets[index + 1])
    assert batch.values is not None
    days = batch.days[rows]
    t = (days - days[0]) / max(days[-1] - days[0], 1)
    y_scale = np.abs(batch.values[rows]).max() or 1.0
    cap = None if batch.cap is None else batch.cap[rows] / y_scale
    design, scales, multiplicative = design_of(fitted, index)
    trend = stan_trend(spec.growth, params, t, cap)
    factor = 1 + design[:, multiplicative] @ params["beta"][multiplicative]
    mean = trend * factor + design[:, ~multiplicative] @ params["beta"][~multiplicative]
    residual = batch.values[rows] / y_scale - mean
    sigma = params["sigma"]
    likelihood = -0.5 * np.sum((residual / sigma) ** 2) - t.size * np.log(sigma)
    prior = -0.5 * (params["k"] / 5) ** 2 - 0.5 * (params["m"] / 5) ** 2 - 0.5 * (sigma / 0.5) ** 2
    prior -= np.abs(params["delta"]).sum() / spec.changepoint_prior_scale
    return likelihood + prior - 0.5 * np.sum((params["beta"] / scales) ** 2)


def bookings(seed: int, lengths: list[int], growth: str, regressors: int) -> SeriesBatch:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    days = np.concatenate([rng.integers(19_000, 20_000) + np.arange(size) for size in lengths])
    pace = np.concatenate([10 + 40 * np.maximum(np.linspace(-2, 1, size), 0) for size in lengths])  # a late surge
    values = rng.poisson(rng.gamma(4, pace / 4)).astype(float)
    if growth == "logistic":
        values = np.concatenate([np.cumsum(part) for part in np.split(values, offsets[1:-1])])
    return SeriesBatch(
        offsets,
        days,
        values,
        np.repeat([part.max(initial=1) * 1.3 for part in np.split(values, offsets[1:-1])], lengths),
        rng.normal(size=(offsets[-1], regressors)) if regressors else None,
    )


@pytest.mark.parametrize("growth", ["flat", "linear", "logistic"])
@pytest.mark.parametrize("mode", ["additive", "multiplicative"])
def test_log_posterior_is_stans(growth: Growth, mode: Mode) -> None:
    spec = ProphetSpec(growth, (replace(WEEKLY, mode=mode),), (Regressor("r", 0.5), Regressor("s", mode=mode)))
    fitted = fit(spec, bookings(1, [60, 90, 45, 70], growth, 2))
    expected = [stan_log_posterior(fitted, index, parameters(fitted, index)) for index in range(4)]
    np.testing.assert_allclose(log_posterior(fitted), expected, rtol=1e-9)


@pytest.mark.parametrize("growth", ["flat", "linear"])
@pytest.mark.parametrize("tau", [0.005, 0.05, 0.5])
def test_optimality_conditions_hold(growth: Growth, tau: float) -> None:
    """Gradients in units of each parameter's posterior standard deviation; the L1's own for delta."""
    spec = ProphetSpec(growth, (WEEKLY,), (Regressor("r", 0.5), Regressor("s")), changepoint_prior_scale=tau)
    fitted = fit(spec, bookings(2, [60, 90, 120, 200, 61], growth, 2))
    assert (fitted.status == FitStatus.CONVERGED).all()
    moved = 0
    for index in range(5):
        params, batch = parameters(fitted, index), fitted.history
        rows = slice(batch.offsets[index], batch.offsets[index + 1])
        assert batch.values is not None
        days = batch.days[rows]
        t = (days - days[0]) / (days[-1] - days[0])
        design, scales, _ = design_of(fitted, index)
        ramps = np.maximum(t[:, None] - params["changepoints"][None, :], 0)
        slope = t * (growth == "linear")
        jacobian = np.column_stack([slope, np.ones(t.size), design, ramps])
        theta = np.concatenate([[params["k"], params["m"]], params["beta"], params["delta"]])
        residual = batch.values[rows] / np.abs(batch.values[rows]).max() - jacobian @ theta
        precision = np.concatenate([[1 / 25, 1 / 25], scales**-2.0, np.zeros(ramps.shape[1])])
        variance = params["sigma"] ** 2
        gradient = jacobian.T @ residual / variance - precision * theta
        first = 2 + design.shape[1]
        spread = np.sqrt((jacobian**2).sum(axis=0) / variance + precision)
        assert np.all(np.abs(gradient[:first]) <= 1e-6 * spread[:first])
        used = params["delta"] != 0
        moved += used.sum()
        np.testing.assert_allclose(gradient[first:][used], np.sign(params["delta"][used]) / tau, rtol=1e-5)
        assert np.all(np.abs(gradient[first:][~used]) <= (1 + 1e-6) / tau)
        noise = t.size - residual @ residual / variance + 4 * variance
        assert abs(noise) <= 1e-6 * t.size
    assert (moved > 0) == (growth == "linear" and tau > 0.01)


@pytest.mark.parametrize("growth", ["linear", "logistic"])
def test_no_nearby_point_is_better(growth: Growth) -> None:
    spec = ProphetSpec(growth, (replace(WEEKLY, mode="multiplicative"),))
    fitted = fit(spec, bookings(3, [80, 120], growth, 0))
    rng = np.random.default_rng(0)
    for index in range(2):
        params = parameters(fitted, index)
        best = stan_log_posterior(fitted, index, params)
        for size in (1e-2, 1e-4, 1e-6):
            for _ in range(50):
                near = {
                    name: value + size * rng.normal(size=np.shape(value)) * (name != "changepoints")
                    for name, value in params.items()
                }
                near["sigma"] = params["sigma"] * np.exp(size * rng.normal())
                assert stan_log_posterior(fitted, index, near) <= best + 1e-7


@st.composite
def problems(draw: st.DrawFn) -> tuple[ProphetSpec, SeriesBatch]:
    """A random small specification with a batch of series of any length, kind of values and spacing."""
    growth: Growth = draw(st.sampled_from(get_args(Growth)))
    modes: st.SearchStrategy[Mode] = st.sampled_from(get_args(Mode))
    periods = draw(st.lists(st.sampled_from([7, 30.5, 365.25]), max_size=2, unique=True))
    seasonal = tuple(Seasonality(f"s{p}", p, draw(st.integers(1, 3)), mode=draw(modes)) for p in periods)
    standardize: st.SearchStrategy[Literal["auto"] | bool] = st.sampled_from(["auto", True, False])
    count = draw(st.integers(0, 2))
    extra = tuple(Regressor(f"r{i}", draw(st.floats(0.01, 10)), draw(standardize), draw(modes)) for i in range(count))
    spec = ProphetSpec(
        growth, seasonal, extra, draw(st.integers(0, 12)), draw(st.floats(0, 1)), draw(st.floats(0.001, 5))
    )
    lengths = draw(st.lists(st.integers(0, 40), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    rows = sum(lengths)
    kind = draw(st.sampled_from(["normal", "counts", "zeros", "constant", "spike", "huge", "tiny"]))
    values = {
        "normal": rng.normal(size=rows),
        "counts": rng.poisson(3, rows).astype(float),
        "zeros": np.zeros(rows),
        "constant": np.full(rows, 7.0),
        "spike": np.where(rng.random(rows) < 0.1, 1e6, 0.0),
        "huge": rng.normal(size=rows) * 1e300,
        "tiny": rng.normal(size=rows) * 1e-300,
    }[kind]
    days = np.concatenate([np.cumsum(rng.integers(0, 3, size)) + 19_000 for size in lengths])
    regressors = np.where(rng.random((rows, count)) < 0.5, rng.integers(0, 2, (rows, count)), rng.normal())
    cap = np.full(rows, draw(st.sampled_from([1e-3, 1.0, 50.0, 1e9])))
    return spec, SeriesBatch(np.cumsum([0, *lengths]), days, values, cap, regressors if count else None)


@SETTINGS
@given(problems())
@example((ProphetSpec("linear"), SeriesBatch(np.array([0, 0]), np.zeros(0, dtype=np.int64), np.zeros(0))))
def test_any_problem_gives_finite_ordered_forecasts(problem: tuple[ProphetSpec, SeriesBatch]) -> None:
    spec, batch = problem
    fitted = fit(spec, batch)
    for array in (fitted.k, fitted.m, fitted.delta, fitted.beta, fitted.sigma_obs, log_posterior(fitted)):
        assert np.isfinite(array).all()
    future = replace(batch, days=batch.days + 20, values=None)
    found = predict(fitted, future, (0.01, 0.1, 0.5, 0.9, 0.99))
    assert not np.isnan(found.mean).any()
    assert not np.isnan(found.quantiles).any()
    assert (np.diff(found.quantiles, axis=1) >= 0).all()
    assert (found.sd >= 0).all()


@SETTINGS
@given(problems(), st.integers(-40, 40))
def test_scaling_the_values_scales_the_forecast(problem: tuple[ProphetSpec, SeriesBatch], power: int) -> None:
    spec, batch = problem
    assert batch.values is not None
    assert batch.cap is not None
    if np.abs(batch.values).max(initial=0) > 1e200 or 0 < np.abs(batch.values).max(initial=0) < 1e-200:
        return
    unit = 2.0**power
    whole = np.flatnonzero(np.diff(batch.offsets))
    if (value_scales(batch)[whole] == 1).any():  # an all-zero series keeps the scale 1
        return
    first = predict(fit(spec, batch), replace(batch, values=None))
    scaled = replace(batch, values=batch.values * unit, cap=batch.cap * unit)
    second = predict(fit(spec, scaled), replace(scaled, values=None))
    np.testing.assert_array_equal(second.quantiles, first.quantiles * unit)


@SETTINGS
@given(problems())
def test_a_series_does_not_feel_its_neighbours(problem: tuple[ProphetSpec, SeriesBatch]) -> None:
    spec, batch = problem
    together = fit(spec, batch)
    assert batch.values is not None
    assert batch.cap is not None
    for index in range(batch.n_series):
        rows = slice(batch.offsets[index], batch.offsets[index + 1])
        extra = None if batch.regressors is None else batch.regressors[rows]
        size = rows.stop - rows.start
        alone = fit(
            spec, SeriesBatch(np.array([0, size]), batch.days[rows], batch.values[rows], batch.cap[rows], extra)
        )
        np.testing.assert_array_equal(alone.beta[0], together.beta[index])
        np.testing.assert_array_equal(alone.delta[0], together.delta[index])
        assert alone.sigma_obs[0] == together.sigma_obs[index]
