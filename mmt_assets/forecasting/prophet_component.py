"""Prophet per concert with the pool as its prior.

The target is what is left of the sales after the prior path p, in units of its noise: z = (y - p) / sqrt(p + 0.5).
Regressors r = p / sqrt(p + 0.5), r e^(-age/6) and r e^(-days to show/8) let a concert run above or below the
prior as a whole, at its opening and at its close. Rows before the sale with z = +-noise and regressors of 0 pin
Prophet's free intercept and sigma, so that a concert without a single sale can be forecast too.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from mmt_assets.forecasting.engines import ProphetBatch, fit_and_forecast
from mmt_assets.forecasting.history import Origin
from mmt_assets.forecasting.inputs import Floats, Ints

PSEUDO_ROWS = 28
PSEUDO_NOISE = 1.0
OPENING_DAYS = 6.0
CLOSING_DAYS = 8.0
# One day's surprise is limited: a second on-sale is one event, not a new level.
LARGEST_SURPRISE = 12.0
MAX_PAST_DAYS = 200


def prophet_path(
    origin: Origin,
    prior_future: Floats,
    prior_past: Floats,
    engine: Literal["map", "stan"],
    *,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Floats, dict[int, str]]:
    """Return the remaining path per concert, shape (n, horizon), and why some have NaN instead."""
    batch, (row, column) = _batch(origin, prior_future, prior_past)
    forecast = fit_and_forecast(batch, engine, processes=processes, progress=progress)
    path = np.zeros_like(prior_future)
    expected = prior_future[row, column]
    value = expected + forecast.values * np.sqrt(expected + 0.5)
    path[row, column] = np.where(expected > 0, np.maximum(value, 0.0), 0.0)
    for series in forecast.failures:
        path[series] = np.nan
    return path, forecast.failures


def _batch(origin: Origin, prior_future: Floats, prior_past: Floats) -> tuple[ProphetBatch, tuple[Ints, Ints]]:
    show, sale_days = origin.history.concerts.show, origin.sale_days
    count = len(show)
    near = origin.history.days_out[None, :] < (origin.days_to_show + MAX_PAST_DAYS)[:, None]
    row, column = np.nonzero((origin.open & near)[:, ::-1])
    column = origin.history.sold.shape[1] - 1 - column
    expected = prior_past[row, column]
    surprise = (np.maximum(origin.history.sold[row, column], 0.0) - expected) / np.sqrt(expected + 0.5)
    surprise = np.clip(surprise, -LARGEST_SURPRISE, LARGEST_SURPRISE)
    scale = np.full(count, PSEUDO_NOISE)
    np.maximum.at(scale, row, np.abs(surprise))
    first = np.where(origin.age >= 0, origin.start, show - origin.days_to_show + 1)
    np.minimum.at(first, row, show[row] - column)
    pseudo_row = np.repeat(np.arange(count), PSEUDO_ROWS)
    pseudo = np.tile(np.arange(PSEUDO_ROWS), count)
    days = np.concatenate([first[pseudo_row] - PSEUDO_ROWS + pseudo, show[row] - column])
    values = np.concatenate([np.where(pseudo % 2 == 1, PSEUDO_NOISE, -PSEUDO_NOISE), surprise])
    regressors = np.concatenate(
        [np.zeros((len(pseudo), 3)), _regressors(expected, sale_days[row] - column, column, scale[row])]
    )
    series = np.concatenate([pseudo_row, row])
    order = np.lexsort((days, series))
    ahead_row, ahead = np.nonzero((np.arange(prior_future.shape[1])[None, :] < origin.days_to_show[:, None])[:, ::-1])
    ahead = prior_future.shape[1] - 1 - ahead
    coming = prior_future[ahead_row, ahead]
    batch = ProphetBatch(
        offsets=np.concatenate([[0], np.cumsum(np.bincount(series, minlength=count))]),
        days=days[order],
        values=values[order],
        regressors=regressors[order],
        future_offsets=np.concatenate([[0], np.cumsum(np.bincount(ahead_row, minlength=count))]),
        future_days=show[ahead_row] - ahead,
        future_regressors=_regressors(coming, sale_days[ahead_row] - ahead, ahead, scale[ahead_row]),
    )
    return batch, (ahead_row, ahead)


def _regressors(expected: Floats, age: Ints, days_out: Ints, scale: Floats) -> Floats:
    level = expected / np.sqrt(expected + 0.5) / scale
    opening = level * np.exp(-np.maximum(age, 0) / OPENING_DAYS)
    return np.column_stack([level, opening, level * np.exp(-days_out / CLOSING_DAYS)])
