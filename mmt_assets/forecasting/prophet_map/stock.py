"""The same specification through stock Prophet: test oracle, second engine and component plots."""

import logging
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from prophet import Prophet
from prophet.models import IStanBackend

from mmt_assets.forecasting.prophet_map.batch import FitStatus, FittedBatch, fit
from mmt_assets.forecasting.prophet_map.specification import ProphetSpec, SeriesBatch


def unfitted_prophet(spec: ProphetSpec, history: SeriesBatch, index: int, *, uncertainty_samples: int = 0) -> Prophet:
    """Stock Prophet object set up as the specification says, for one series.

    Args:
        spec: The model.
        history: Batch that may carry prior scales per series.
        index: Which series.
        uncertainty_samples: Paths that `Prophet.predict` samples.
    """
    model = Prophet(
        growth=spec.growth,
        n_changepoints=spec.n_changepoints,
        changepoint_range=spec.changepoint_range,
        changepoint_prior_scale=spec.changepoint_prior_scale,
        yearly_seasonality=False,  # pyright: ignore[reportArgumentType]
        weekly_seasonality=False,  # pyright: ignore[reportArgumentType]
        daily_seasonality=False,  # pyright: ignore[reportArgumentType]
        uncertainty_samples=uncertainty_samples,
    )
    for place, part in enumerate(spec.seasonalities):
        scales = history.seasonality_prior_scales
        scale = part.prior_scale if scales is None else float(scales[index, place])
        model.add_seasonality(part.name, part.period, part.fourier_order, prior_scale=scale, mode=part.mode)
    for place, part in enumerate(spec.regressors):
        scales = history.regressor_prior_scales
        scale = part.prior_scale if scales is None else float(scales[index, place])
        model.add_regressor(part.name, prior_scale=scale, standardize=part.standardize, mode=part.mode)
    return model


def series_frame(spec: ProphetSpec, batch: SeriesBatch, index: int) -> pd.DataFrame:
    """One series as the frame that Prophet takes: ds, y, cap and one column per regressor.

    Args:
        spec: The model, for the names of the regressors.
        batch: The series.
        index: Which series.
    """
    rows = slice(int(batch.offsets[index]), int(batch.offsets[index + 1]))
    regressors = () if batch.regressors is None else batch.regressors.T
    named = zip(("y", "cap"), (batch.values, batch.cap), strict=True)  # noqa: PD011  not a frame
    columns: dict[str, Any] = {"ds": batch.days[rows].astype("datetime64[D]").astype("datetime64[ns]")}
    columns |= {name: column[rows] for name, column in named if column is not None}
    columns |= {part.name: column[rows] for part, column in zip(spec.regressors, regressors, strict=True)}
    return pd.DataFrame(columns)


@contextmanager
def _quietly() -> Generator[None]:
    """Hold back the lines that Prophet and cmdstanpy log per fit."""
    import_module("cmdstanpy.utils").get_logger()  # sets its own level when first asked for
    loggers = [logging.getLogger(name) for name in ("cmdstanpy", "prophet")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _fit_one(spec: ProphetSpec, history: SeriesBatch, index: int) -> dict[str, NDArray[np.float64]]:
    with _quietly():
        model = unfitted_prophet(spec, history, index).fit(series_frame(spec, history, index))
    return {name: np.asarray(model.params[name]).reshape(-1) for name in ("k", "m", "delta", "beta", "sigma_obs")}


def fit_stan(spec: ProphetSpec, batch: SeriesBatch, *, processes: int = 1) -> FittedBatch:
    """Fit with stock Prophet (Stan's optimiser), one subprocess per series.

    Args:
        spec: The model.
        batch: Series with at least two observed rows each.
        processes: Spawned processes; 1 fits in this one.

    Returns:
        Stan's estimates in the same form as `fit` gives them, so `predict` and `log_posterior` take them.

    Raises:
        ValueError: A series has fewer than two rows, or the batch lacks what the specification needs.
        RuntimeError: Stan fails on a series.
    """
    history = batch.observed()
    if (np.diff(history.offsets) < 2).any():  # noqa: PLR2004
        raise ValueError("Prophet needs at least two observed rows per series")
    frame = fit(spec, history)  # scales and changepoints are the same; only the parameters are replaced
    one = partial(_fit_one, spec, history)
    if processes > 1:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(one, range(history.n_series), chunksize=8))
    else:
        found = [one(index) for index in range(history.n_series)]
    delta, beta = np.zeros_like(frame.delta), np.zeros_like(frame.beta)
    for index, params in enumerate(found):
        count = int(frame.changepoint_counts[index]) if spec.growth != "flat" else 0
        delta[index, :count] = params["delta"][:count]
        beta[index] = params["beta"][: beta.shape[1]]
    constant = frame.status == FitStatus.CONSTANT
    return replace(
        frame,
        k=np.array([float(params["k"][0]) for params in found]),
        m=np.array([float(params["m"][0]) for params in found]),
        sigma_obs=np.array([float(params["sigma_obs"][0]) for params in found]),
        delta=delta,
        beta=beta,
        status=np.where(constant, FitStatus.CONSTANT, FitStatus.CONVERGED).astype(np.int64),
    )


class _Loaded(IStanBackend):
    """Stan backend that hands Prophet the estimates it was given instead of optimising."""

    def __init__(self, params: dict[str, NDArray[np.float64]]) -> None:
        self.params = params
        super().__init__()

    @staticmethod
    def get_type() -> str:
        return "LOADED"

    def load_model(self) -> None:
        return None

    def fit(self, stan_init: dict[str, Any], stan_data: dict[str, Any], **_: Any) -> dict[str, Any]:
        params = dict(self.params)
        for name in ("delta", "beta"):  # Prophet's dummy changepoint and dummy column, where we have none
            size = np.size(stan_init[name])
            params[name] = np.concatenate((params[name], np.zeros(size)))[:size]
        self.stan_data = stan_data
        return {name: np.reshape(value, (1, -1)) for name, value in params.items()}

    def sampling(self, stan_init: dict[str, Any], stan_data: dict[str, Any], samples: int, **_: Any) -> dict[str, Any]:
        raise NotImplementedError("the estimates are fixed; there is nothing to sample")


def to_prophet(fitted: FittedBatch, index: int, *, uncertainty_samples: int = 0) -> Prophet:
    """A fitted `Prophet` object with the estimates of one series, for `predict` and `plot_components`.

    Args:
        fitted: Estimates.
        index: Which series; it needs at least two observed rows.
        uncertainty_samples: Paths that its `predict` samples.

    Raises:
        ValueError: The series has fewer than two rows (from Prophet).
    """
    spec, history = fitted.spec, fitted.history
    model = unfitted_prophet(spec, history, index, uncertainty_samples=uncertainty_samples)
    count = int(fitted.changepoint_counts[index])
    model.stan_backend = _Loaded(
        {
            "k": fitted.k[index : index + 1],
            "m": fitted.m[index : index + 1],
            "sigma_obs": fitted.sigma_obs[index : index + 1],
            "delta": fitted.delta[index, :count],
            "beta": fitted.beta[index],
        }
    )
    return model.fit(series_frame(spec, history, index))
