"""Batches: edge cases, validation, determinism, threads and child processes."""

import multiprocessing
from dataclasses import replace

import numpy as np
import pytest

from mmt_assets.forecasting.prophet_map import (
    FitStatus,
    ProphetSpec,
    Regressor,
    Seasonality,
    SeriesBatch,
    compile_kernels,
    fit,
    log_posterior,
    predict,
    value_scales,
)
from mmt_assets.forecasting.prophet_map.specification import Growth

SPEC = ProphetSpec("linear", (Seasonality("weekly", 7, 3),))


def one(values: list[float], cap: float = 100.0) -> SeriesBatch:
    size = len(values)
    return SeriesBatch(np.array([0, size]), 19_000 + np.arange(size), np.array(values, dtype=float), np.full(size, cap))


def days_ahead(batch: SeriesBatch, count: int = 10) -> SeriesBatch:
    days = 19_000 + batch.days.size + np.arange(count)
    return SeriesBatch(np.array([0, count]), days, None, np.full(count, 100.0))


def many(n: int) -> SeriesBatch:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 80, n)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    days = np.concatenate([rng.integers(19_000, 20_000) + np.arange(size) for size in lengths])
    return SeriesBatch(offsets, days, rng.poisson(5, days.size).astype(float))


def forecast_of_many(n: int) -> bytes:
    """Module level, so that a spawned child can import it."""
    batch = many(n)
    return predict(fit(SPEC, batch), replace(batch, days=batch.days + 90, values=None)).quantiles.tobytes()


def child(context: str, n: int) -> bytes:
    with multiprocessing.get_context(context).Pool(1) as pool:
        return pool.apply_async(forecast_of_many, (n,)).get(timeout=120)


@pytest.mark.parametrize("growth", ["linear", "flat"])
@pytest.mark.parametrize("values", [[0.0] * 20, [7.0] * 20, [-3.0] * 2])
def test_constant_series_repeat_themselves_as_in_prophet(growth: Growth, values: list[float]) -> None:
    batch = one(values)
    fitted = fit(replace(SPEC, growth=growth), batch)
    found = predict(fitted, days_ahead(batch))
    assert fitted.status[0] == FitStatus.CONSTANT
    assert fitted.sigma_obs[0] == 1e-9
    np.testing.assert_array_equal(found.mean, np.full(10, values[0]))
    np.testing.assert_allclose(found.quantiles, values[0], atol=1e-6)


@pytest.mark.parametrize("growth", ["linear", "flat", "logistic"])
def test_no_row_and_one_row_are_marked_short(growth: Growth) -> None:
    spec = replace(SPEC, growth=growth)
    empty = fit(spec, one([]))
    single = fit(spec, one([42.0]))
    assert [empty.status[0], single.status[0]] == [FitStatus.SHORT, FitStatus.SHORT]
    assert np.isfinite(predict(empty, days_ahead(one([]))).quantiles).all()
    if growth != "logistic":
        np.testing.assert_array_equal(predict(empty, days_ahead(one([]))).mean, np.zeros(10))
        np.testing.assert_array_equal(predict(single, days_ahead(one([42.0]))).mean, np.full(10, 42.0))


@pytest.mark.parametrize("growth", ["linear", "flat", "logistic"])
@pytest.mark.parametrize(
    "values",
    [[1.0, 2.0], [0.0, 1e-300], [1e300, -1e300, 1e300], [5.0] * 9 + [1e12], list(range(500, 540)), [0.0] * 30],
    ids=["two rows", "tiny", "huge", "spike", "above capacity", "zeros"],
)
def test_extreme_values_give_finite_estimates(growth: Growth, values: list[float]) -> None:
    batch = one(values)
    fitted = fit(replace(SPEC, growth=growth), batch)
    assert np.isfinite(log_posterior(fitted)).all()
    assert fitted.sigma_obs[0] >= 1e-9
    found = predict(fitted, days_ahead(batch), (0.05, 0.5, 0.95))
    assert not np.isnan(found.quantiles).any()
    assert (np.diff(found.quantiles, axis=1) >= 0).all()


def test_rows_on_one_day_and_gaps_are_accepted() -> None:
    rng = np.random.default_rng(1)
    for days in (np.full(30, 19_000), 19_000 + np.sort(rng.integers(0, 300, 30))):
        batch = SeriesBatch(np.array([0, 30]), days, rng.normal(10, 1, 30))
        assert np.isfinite(fit(SPEC, batch).k).all()


def test_missing_values_are_left_out() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(10, 1, 50)
    values[[3, 10, 49]] = np.nan
    batch = one(list(values))
    keep = ~np.isnan(values)
    kept = SeriesBatch(np.array([0, 47]), batch.days[keep], values[keep])
    np.testing.assert_array_equal(fit(SPEC, batch).delta, fit(SPEC, kept).delta)
    assert value_scales(batch)[0] == np.nanmax(values)


def test_result_does_not_depend_on_threads() -> None:
    batch = many(200)
    first, second = fit(SPEC, batch), fit(SPEC, batch, workers=2)
    for name in ("k", "m", "delta", "beta", "sigma_obs"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    future = replace(batch, values=None)
    np.testing.assert_array_equal(predict(first, future).quantiles, predict(second, future, workers=2).quantiles)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_child_processes_work_after_use_in_the_parent(context: str) -> None:
    compile_kernels()
    fit(SPEC, many(50), workers=2)
    assert child(context, 50) == forecast_of_many(50)


def test_outlook_widens_and_orders_with_probability() -> None:
    rng = np.random.default_rng(3)
    batch = one(list(np.cumsum(rng.normal(1, 3, 90))))
    found = predict(fit(replace(SPEC, changepoint_prior_scale=0.5), batch), days_ahead(batch, 60), (0.01, 0.5, 0.99))
    assert (np.diff(found.sd) >= 0).all()
    assert found.sd[-1] > 1.5 * found.sd[0]
    np.testing.assert_allclose(found.quantiles[:, 1], found.mean)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": np.array([0, 3])}, "offsets must run"),
        ({"offsets": np.array([0, 5, 4])}, "offsets must not decrease"),
        ({"days": np.array([5, 4, 6, 7])}, "earlier than the row before"),
        ({"days": np.array([0, 1, 2, 10**9])}, "years 1678 to 2261"),
        ({"values": np.array([1, 2, 3, np.inf])}, "not finite"),
        ({"values": np.zeros(3)}, "values has shape"),
        ({"regressors": np.full((4, 1), np.nan)}, "not finite"),
        ({"regressor_prior_scales": np.zeros((1, 2))}, "must lie between"),
    ],
)
def test_unusable_batches_are_refused(change: dict, message: str) -> None:
    arguments = {"offsets": np.array([0, 4]), "days": np.arange(4), "values": np.zeros(4)}
    with pytest.raises(ValueError, match=message):
        SeriesBatch(**(arguments | change))


def test_unusable_combinations_are_refused() -> None:
    batch = SeriesBatch(np.array([0, 4]), np.arange(4), np.arange(4.0))
    with pytest.raises(ValueError, match="needs a capacity"):
        fit(ProphetSpec("logistic"), batch)
    with pytest.raises(ValueError, match="must be positive"):
        fit(ProphetSpec("logistic"), replace(batch, cap=np.zeros(4)))
    with pytest.raises(ValueError, match="0 regressors, the model 1"):
        fit(ProphetSpec("flat", (), (Regressor("r"),)), batch)
    with pytest.raises(ValueError, match="needs values"):
        fit(SPEC, replace(batch, values=None))
    with pytest.raises(ValueError, match="were fitted"):
        predict(fit(SPEC, batch), SeriesBatch(np.array([0, 0, 0]), np.zeros(0, dtype=np.int64)))
    with pytest.raises(ValueError, match="must differ"):
        ProphetSpec("flat", (Seasonality("a", 7, 3),), (Regressor("a"),))
    with pytest.raises(ValueError, match="prior scales"):
        ProphetSpec("flat", (), (Regressor("a", 0.0),))
