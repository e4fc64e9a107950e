"""The seam to Prophet: one batch of short series in, the forecast of each series out.

The model is Prophet's own: flat growth, weekly seasonality with a small prior scale, extra regressors that are
not standardised, no sampled paths. `engine="stan"` fits it with stock Prophet, `engine="map"` with this
project's solver of the same posterior.
"""

import logging
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mmt_assets.forecasting.inputs import Floats, Ints

REGRESSORS = ("level", "opening", "closing")
REGRESSOR_SCALES = (0.5, 0.35, 0.35)
WEEKLY_SCALE = 0.02
WEEKLY_ORDER = 3
SERIES_PER_TASK = 8


@dataclass(frozen=True)
class ProphetBatch:
    """Ragged series: rows `offsets[i]:offsets[i + 1]` belong to series i.

    Attributes:
        offsets: Shape (n + 1,). days: integer days, ascending within a series. values: the target.
        regressors: Shape (rows, 3), already divided by the series' largest absolute value, which makes
            `REGRESSOR_SCALES` standard deviations in the target's own unit.
        future_offsets: The same for the days to forecast. future_days, future_regressors: likewise.
    """

    offsets: Ints
    days: Ints
    values: Floats
    regressors: Floats
    future_offsets: Ints
    future_days: Ints
    future_regressors: Floats


@dataclass(frozen=True)
class ProphetForecast:
    """Forecasts in the order of `future_days`; NaN where a series failed, `failures` says why."""

    values: Floats
    failures: dict[int, str]


def fit_and_forecast(
    batch: ProphetBatch,
    engine: Literal["map", "stan"],
    *,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> ProphetForecast:
    """Fit every series of a batch and forecast its future days.

    Args:
        batch: The series.
        engine: Which solver.
        processes: Worker processes for "stan".
        progress: Called with (series done, series in all).

    Returns:
        The forecasts; one failing series leaves NaN and a reason, the others are not touched.
    """
    count = len(batch.offsets) - 1
    if count == 0:
        return ProphetForecast(np.empty(0), {})
    if engine == "map":
        return _map(batch)
    tasks = [_part(batch, np.arange(s, min(s + SERIES_PER_TASK, count))) for s in range(0, count, SERIES_PER_TASK)]
    results: list[list[Floats | str]] = []
    done = 0
    if processes == 1 or len(tasks) == 1:
        outcomes = map(_stan_task, tasks)
        for outcome in outcomes:
            results.append(outcome)
            done += len(outcome)
            _report(progress, done, count)
    else:
        # "spawn": forking a process that holds OpenMP threads (numba, BLAS) kills the child.
        with ProcessPoolExecutor(min(processes, len(tasks)), multiprocessing.get_context("spawn")) as pool:
            for outcome in pool.map(_stan_task, tasks):
                results.append(outcome)
                done += len(outcome)
                _report(progress, done, count)
    return _gather(batch, [item for outcome in results for item in outcome])


def _gather(batch: ProphetBatch, outcomes: list[Floats | str]) -> ProphetForecast:
    values = np.full(len(batch.future_days), np.nan)
    failures: dict[int, str] = {}
    for series, outcome in enumerate(outcomes):
        if isinstance(outcome, str):
            failures[series] = outcome
        else:
            values[batch.future_offsets[series] : batch.future_offsets[series + 1]] = outcome
    return ProphetForecast(values, failures)


def _report(progress: Callable[[int, int], None] | None, done: int, count: int) -> None:
    if progress is not None:
        progress(done, count)


def _part(batch: ProphetBatch, series: Ints) -> ProphetBatch:
    """Return a contiguous part of a batch."""
    first, last = int(series[0]), int(series[-1]) + 1
    past = slice(int(batch.offsets[first]), int(batch.offsets[last]))
    future = slice(int(batch.future_offsets[first]), int(batch.future_offsets[last]))
    return ProphetBatch(
        offsets=batch.offsets[first : last + 1] - batch.offsets[first],
        days=batch.days[past],
        values=batch.values[past],  # noqa: PD011  not a frame
        regressors=batch.regressors[past],
        future_offsets=batch.future_offsets[first : last + 1] - batch.future_offsets[first],
        future_days=batch.future_days[future],
        future_regressors=batch.future_regressors[future],
    )


def _stan_task(batch: ProphetBatch) -> list[Floats | str]:
    """Fit the series of one task with stock Prophet (runs in a worker process)."""
    for name in ("cmdstanpy", "prophet", "prophet.plot"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    outcomes: list[Floats | str] = []
    for series in range(len(batch.offsets) - 1):
        try:
            outcomes.append(_stan_series(_part(batch, np.array([series]))))
        except (RuntimeError, ValueError) as error:
            outcomes.append(f"{type(error).__name__}: {error}")
    return outcomes


def _stan_series(one: ProphetBatch) -> Floats:
    from prophet import Prophet  # noqa: PLC0415  # takes a second, and "map" never needs it

    model = Prophet(
        growth="flat",
        weekly_seasonality=False,
        daily_seasonality=False,
        yearly_seasonality=False,
        uncertainty_samples=0,
    )
    model.add_seasonality("weekly", period=7, fourier_order=WEEKLY_ORDER, prior_scale=WEEKLY_SCALE)
    for name, scale in zip(REGRESSORS, REGRESSOR_SCALES, strict=True):
        model.add_regressor(name, prior_scale=scale, standardize=False)
    model.fit(_frame(one.days, one.regressors).assign(y=one.values))
    return model.predict(_frame(one.future_days, one.future_regressors))["yhat"].to_numpy(dtype=np.float64)


def _frame(days: Ints, regressors: Floats) -> pd.DataFrame:
    frame = pd.DataFrame(regressors, columns=list(REGRESSORS))
    frame.insert(0, "ds", days.astype("datetime64[D]").astype("datetime64[ns]"))
    return frame


def _map(batch: ProphetBatch) -> ProphetForecast:
    # With the solver comes numba, for half a second: whoever only loads the definitions needs neither.
    from mmt_assets.forecasting.prophet_map import (  # noqa: PLC0415
        FitStatus,
        ProphetSpec,
        Regressor,
        Seasonality,
        SeriesBatch,
        fit,
        predict,
    )

    spec = ProphetSpec(
        growth="flat",
        seasonalities=(Seasonality("weekly", 7, WEEKLY_ORDER, WEEKLY_SCALE),),
        regressors=tuple(
            Regressor(name, scale, standardize=False) for name, scale in zip(REGRESSORS, REGRESSOR_SCALES, strict=True)
        ),
    )
    fitted = fit(spec, SeriesBatch(batch.offsets, batch.days, batch.values, regressors=batch.regressors))
    future = SeriesBatch(batch.future_offsets, batch.future_days, regressors=batch.future_regressors)
    values = predict(fitted, future, (0.5,)).mean
    status = np.repeat(fitted.status, np.diff(batch.future_offsets))
    usable = (int(FitStatus.CONVERGED), int(FitStatus.ITERATION_LIMIT))
    failures = {
        int(series): f"the solver ended with {FitStatus(int(fitted.status[series])).name}"
        for series in np.flatnonzero(~np.isin(fitted.status, usable))
    }
    return ProphetForecast(np.where(np.isin(status, usable), values, np.nan), failures)
