"""Fit and forecast batches: arrays in, arrays out, around the kernels."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from mmt_assets.forecasting.prophet_map import kernels
from mmt_assets.forecasting.prophet_map.specification import ProphetSpec, Seasonality, SeriesBatch

_GROWTH = {"linear": kernels.LINEAR, "logistic": kernels.LOGISTIC, "flat": kernels.FLAT}
_STANDARDIZE = {False: kernels.SCALE_OFF, True: kernels.SCALE_ON, "auto": kernels.SCALE_AUTO}


class FitStatus(IntEnum):
    """How the estimate of one series came about."""

    CONVERGED = kernels.CONVERGED
    """A stationary point of the log posterior."""
    CONSTANT = kernels.CONSTANT
    """All values equal and growth not logistic: the constant with sigma_obs = 1e-9, as in Prophet."""
    SHORT = kernels.SHORT
    """No or one row, which Prophet refuses: the forecast is 0 or repeats the row; not to be relied upon."""
    UNBOUNDED = kernels.UNBOUNDED
    """The parameters pass through every row, so the posterior has no maximum; sigma_obs stopped at 1e-9."""
    ITERATION_LIMIT = kernels.ITERATION_LIMIT
    """The best point found when the iterations ran out."""


@dataclass(frozen=True)
class FittedBatch:
    """Estimates in Prophet's scaled units, one row per series, with the data that they came from.

    Attributes:
        spec: The specification.
        history: The observed rows.
        k: (n,) base growth rate.
        m: (n,) trend offset.
        delta: (n, n_changepoints) changes of slope; zero past the number of changepoints of the series.
        beta: (n, K) coefficients: seasonalities (sine, cosine per order), then regressors.
        sigma_obs: (n,) standard deviation of the noise.
        changepoints: (n, n_changepoints) scaled times of the changepoints; zero past their number.
        changepoint_counts: (n,) number of changepoints; Prophet's dummy at time 0 counts as none.
        y_scale: (n,) value units per scaled unit.
        start: (n,) first day since 1970-01-01, scaled time 0.
        t_scale: (n,) days per unit of scaled time, at least 1.
        center: (n, r) subtracted from each regressor.
        spread: (n, r) each regressor is divided by.
        status: (n,) `FitStatus`.
    """

    spec: ProphetSpec
    history: SeriesBatch
    k: NDArray[np.float64]
    m: NDArray[np.float64]
    delta: NDArray[np.float64]
    beta: NDArray[np.float64]
    sigma_obs: NDArray[np.float64]
    changepoints: NDArray[np.float64]
    changepoint_counts: NDArray[np.int64]
    y_scale: NDArray[np.float64]
    start: NDArray[np.int64]
    t_scale: NDArray[np.float64]
    center: NDArray[np.float64]
    spread: NDArray[np.float64]
    status: NDArray[np.int64]

    def estimates(self) -> kernels.Estimates:
        """The arrays as the kernels take them."""
        return kernels.Estimates(
            self.k,
            self.m,
            self.sigma_obs,
            self.beta,
            self.delta,
            self.changepoints,
            self.changepoint_counts,
            self.y_scale,
            self.start,
            self.t_scale,
            self.center,
            self.spread,
            self.status,
        )


@dataclass(frozen=True)
class Prediction:
    """Forecast of the rows asked for, in the unit of the values.

    Attributes:
        mean: (rows,) Prophet's yhat.
        sd: (rows,) standard deviation of the predictive distribution at the estimate.
        quantiles: (rows, q) at the probabilities asked for, in their order.
    """

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    quantiles: NDArray[np.float64]


def fourier_features(days: NDArray[np.int64], seasonality: Seasonality) -> NDArray[np.float64]:
    """Sine and cosine columns (rows, 2 x order), as Prophet's `fourier_series` computes them.

    Args:
        days: (rows,) days since 1970-01-01.
        seasonality: Period in days and order.
    """
    order = np.arange(1, seasonality.fourier_order + 1)
    angle = (order / seasonality.period) * (np.pi * 2 * days[:, None])
    return np.stack((np.sin(angle), np.cos(angle)), axis=2).reshape(days.size, 2 * order.size)


def _seasonal_table(spec: ProphetSpec, days: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Fourier columns once per distinct day, and the row of each day in them."""
    if days.size and int(days.max() - days.min()) <= days.size + 10_000:
        distinct, index = np.arange(days.min(), days.max() + 1), days - days.min()
    else:
        distinct, index = np.unique(days, return_inverse=True)
    columns = [fourier_features(distinct, seasonality) for seasonality in spec.seasonalities]
    return np.hstack([np.empty((distinct.size, 0)), *columns]), index


def _kernel_inputs(spec: ProphetSpec, batch: SeriesBatch) -> tuple[kernels.Model, kernels.Rows]:
    """Check that the batch carries what the specification needs, and lay it out for the kernels.

    Raises:
        ValueError: Regressors or capacities are missing or unusable.
    """
    rows = batch.days.size
    regressors = np.empty((rows, 0)) if batch.regressors is None else batch.regressors
    if regressors.shape[1] != len(spec.regressors):
        raise ValueError(f"the batch has {regressors.shape[1]} regressors, the model {len(spec.regressors)}")
    cap = np.empty(0)
    if spec.growth == "logistic":
        if batch.cap is None:
            raise ValueError("logistic growth needs a capacity on every row")
        if (batch.cap <= 0).any():
            raise ValueError("capacities must be positive (Prophet's floor is 0)")
        cap = batch.cap
    seasonal, index = _seasonal_table(spec, batch.days)
    parts = [(part.mode, 2 * part.fourier_order) for part in spec.seasonalities]
    modes = [mode for mode, width in [*parts, *((part.mode, 1) for part in spec.regressors)] for _ in range(width)]
    model = kernels.Model(
        _GROWTH[spec.growth],
        spec.n_changepoints,
        float(spec.changepoint_range),
        float(spec.changepoint_prior_scale),
        seasonal,
        np.array([mode == "multiplicative" for mode in modes], dtype=np.bool_),
        np.array([_STANDARDIZE[part.standardize] for part in spec.regressors], dtype=np.int64),
    )
    values = np.empty(0) if batch.values is None else batch.values
    return model, kernels.Rows(batch.offsets, batch.days, index, values, cap, regressors)


def _prior_scales(spec: ProphetSpec, batch: SeriesBatch) -> NDArray[np.float64]:
    """(n, K) prior scales, or (1, K) when all series share them.

    Raises:
        ValueError: Per-series scales do not match the specification.
    """
    seasonal = np.array([[part.prior_scale for part in spec.seasonalities]])
    extra = np.array([[part.prior_scale for part in spec.regressors]])
    if batch.seasonality_prior_scales is not None:
        if batch.seasonality_prior_scales.shape[1] != seasonal.shape[1]:
            raise ValueError(f"seasonality_prior_scales needs {seasonal.shape[1]} columns")
        seasonal = batch.seasonality_prior_scales
    if batch.regressor_prior_scales is not None:
        if batch.regressor_prior_scales.shape[1] != extra.shape[1]:
            raise ValueError(f"regressor_prior_scales needs {extra.shape[1]} columns")
        extra = batch.regressor_prior_scales
    widths = [2 * part.fourier_order for part in spec.seasonalities]
    wide = np.repeat(seasonal, np.array(widths, dtype=np.int64), axis=1)
    height = max(wide.shape[0], extra.shape[0])
    shape = (height, wide.shape[1]), (height, extra.shape[1])
    return np.ascontiguousarray(np.hstack([np.broadcast_to(wide, shape[0]), np.broadcast_to(extra, shape[1])]))


def _in_threads(work: Callable[[int, int], None], offsets: NDArray[np.int64], workers: int) -> None:
    """Call work(first, last) on ranges of series with about equally many rows; the kernels release the GIL."""
    n = offsets.size - 1
    if workers <= 1 or n < 2 * workers:
        work(0, n)
        return
    marks = np.searchsorted(offsets, np.linspace(0, offsets[-1], 4 * workers + 1)[1:-1])
    edges = [0, *(int(mark) for mark in marks), n]
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(work, *edge) for edge in pairwise(edges)]:
            done.result()


def fit(spec: ProphetSpec, batch: SeriesBatch, *, workers: int = 1) -> FittedBatch:
    """Maximum a posteriori estimates of Prophet's model for every series.

    The result does not depend on `workers` or on the other series of the batch. Linear and flat growth with
    additive components is solved to rounding; logistic growth and multiplicative components, whose posterior
    may have several modes, end in a stationary point reached from Prophet's own starting values.

    Args:
        spec: The model.
        batch: Series with values; rows whose value is NaN are left out.
        workers: Threads; they end before this returns, so forking afterwards is safe.

    Returns:
        Estimates, finite for every series; `FittedBatch.status` tells what stands behind them.

    Raises:
        ValueError: The batch lacks what the specification needs.
    """
    history = batch.observed()
    model, rows = _kernel_inputs(spec, history)
    scales = _prior_scales(spec, history)
    n, size = history.n_series, 0 if spec.growth == "flat" else spec.n_changepoints
    places = np.zeros((n, spec.n_changepoints))
    fitted = FittedBatch(
        spec=spec,
        history=history,
        k=np.zeros(n),
        m=np.zeros(n),
        delta=np.zeros((n, size)),
        beta=np.zeros((n, scales.shape[1])),
        sigma_obs=np.full(n, 1e-9),
        changepoints=places,
        changepoint_counts=np.zeros(n, dtype=np.int64),
        y_scale=np.ones(n),
        start=np.zeros(n, dtype=np.int64),
        t_scale=np.ones(n),
        center=np.zeros((n, len(spec.regressors))),
        spread=np.ones((n, len(spec.regressors))),
        status=np.zeros(n, dtype=np.int64),
    )
    estimates = fitted.estimates()
    _in_threads(
        lambda first, last: kernels.fit_range(model, rows, scales, first, last, estimates), rows.offsets, workers
    )
    return fitted


def predict(
    fitted: FittedBatch, future: SeriesBatch, probabilities: Sequence[float] = (0.1, 0.5, 0.9), *, workers: int = 1
) -> Prediction:
    """Forecast the days of `future`, which may lie within the history or after it.

    The predictive distribution is the one that Prophet samples at a MAP estimate: noise, plus changes of slope
    after the last row. Its moments are closed form (see the package), so there are no samples and no seed.
    Quantiles use a fourth-order Cornish-Fisher expansion around the mean.

    Args:
        fitted: Estimates of n series.
        future: Days (with cap and regressors if the model has them) of the same n series.
        probabilities: Probabilities within (0, 1).
        workers: Threads.

    Returns:
        One row per row of `future`; a forecast beyond the range of floats is infinite, never NaN.

    Raises:
        ValueError: `future` does not fit the model or has another number of series.
    """
    if future.n_series != fitted.history.n_series:
        raise ValueError(f"{future.n_series} series to forecast, but {fitted.history.n_series} were fitted")
    if not all(0 < probability < 1 for probability in probabilities):
        raise ValueError("probabilities must lie strictly between 0 and 1")
    model, rows = _kernel_inputs(fitted.spec, future)
    normal = NormalDist()
    normal_quantiles = np.array([normal.inv_cdf(probability) for probability in probabilities], dtype=np.float64)
    count = future.days.size
    result = Prediction(np.empty(count), np.empty(count), np.empty((count, normal_quantiles.size)))
    estimates = fitted.estimates()

    def work(first: int, last: int) -> None:
        kernels.forecast_range(
            model, rows, estimates, first, last, normal_quantiles, result.mean, result.sd, result.quantiles
        )

    _in_threads(work, rows.offsets, workers)
    return result


def log_posterior(fitted: FittedBatch) -> NDArray[np.float64]:
    """Log posterior at the estimates, with the constants dropped that Stan's `lp__` drops.

    Args:
        fitted: Estimates from `fit` or from stock Prophet.

    Returns:
        (n,) float64; 0 for a series without rows.
    """
    model, rows = _kernel_inputs(fitted.spec, fitted.history)
    result = np.empty(fitted.history.n_series)
    kernels.log_posterior_range(model, rows, _prior_scales(fitted.spec, fitted.history), fitted.estimates(), result)
    return result


def compile_kernels() -> None:
    """Compile every kernel, or load it from numba's disk cache: for image builds and before timing."""
    batch = SeriesBatch(np.array([0, 4]), np.arange(4), np.arange(4.0), np.full(4, 9.0))
    fitted = fit(ProphetSpec("logistic"), batch)
    predict(fitted, batch)
    log_posterior(fitted)
