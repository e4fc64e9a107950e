"""Blend of the single models per horizon, and the champion: chosen on past forecasts only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmt_assets.forecasting.inputs import Floats, Ints
from mmt_assets.forecasting.replay import OFFSET, Replay

HORIZON_GRID = np.array([1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 90, 120, 180, 365])
KERNEL_WIDTH = 0.35
HALF_LIFE_DAYS = 240.0
RIDGE = 8.0
MIN_ROWS = 40.0
# The blend stays champion unless another model is better by this share on past forecasts.
CHAMPION_MARGIN = 0.02


@dataclass(frozen=True)
class Blend:
    """Coefficients and champion per grid horizon; `names` are the models in the order of the inputs."""

    names: tuple[str, ...]
    coefficients: Floats
    champions: tuple[str, ...]

    def predict(self, log_remaining: Floats, net: Floats, age: Ints, days_to_show: Ints) -> Floats:
        """Return log(remaining + 2) of the champion at each row's horizon, shape (n,)."""
        mean = log_remaining.mean(axis=1)
        options = {name: log_remaining[:, k] for k, name in enumerate(self.names)}
        options["average"] = mean
        options["blend"] = mean + _stacked(self.coefficients, log_remaining, net, age, days_to_show)
        grid = _nearest(days_to_show)
        return np.array([options[self.champions[g]][row] for row, g in enumerate(grid)])

    def champion(self, days_to_show: Ints) -> list[str]:
        """Return the champion's name at each row's horizon."""
        return [self.champions[g] for g in _nearest(days_to_show)]


def default_blend(names: tuple[str, ...]) -> Blend:
    """Return the average of all models, for when there is no past to choose on."""
    return Blend(names, np.zeros((len(HORIZON_GRID), len(names) + 4)), ("average",) * len(HORIZON_GRID))


def fit_blend(past: Replay, as_of: int) -> tuple[Blend, Floats]:
    """Choose per horizon on past forecasts.

    Args:
        past: Replayed forecasts.
        as_of: The day for which the blend is wanted.

    Returns:
        The blend, and log(remaining + 2) that its champion would have said on every replayed row, from
        coefficients fitted only on concerts that had finished by that row's day.
    """
    honest = past.log_remaining.mean(axis=1)
    stacked = honest.copy()
    for day in np.unique(past.as_of):
        rows = np.flatnonzero(past.as_of == day)
        coefficients = _fit(past, past.show < day, int(day))
        stacked[rows] += _stacked(
            coefficients, past.log_remaining[rows], past.net[rows], past.age[rows], past.days_to_show[rows]
        )
    options = {name: past.log_remaining[:, k] for k, name in enumerate(past.names)}
    options |= {"average": honest, "blend": stacked}
    champions = tuple(_champion(past, options, int(g), as_of) for g in HORIZON_GRID)
    blend = Blend(past.names, _fit(past, past.show < as_of, as_of), champions)
    grid = _nearest(past.days_to_show)
    said = np.array([options[champions[g]][row] for row, g in enumerate(grid)])
    return blend, said


def kernel(horizons: Ints, horizon: float, width: float = KERNEL_WIDTH) -> Floats:
    """Return weights of rows by how near their days to show are, on a log scale."""
    return np.exp(-0.5 * ((np.log1p(horizons) - np.log1p(horizon)) / width) ** 2)


def recency(past: Replay, as_of: int) -> Floats:
    """Return weights of rows that halve every `HALF_LIFE_DAYS`."""
    return 0.5 ** (np.maximum(as_of - past.show, 0) / HALF_LIFE_DAYS)


def _champion(past: Replay, options: dict[str, Floats], horizon: int, as_of: int) -> str:
    """Smallest error in tickets, each row relative to its concert's size, sell-outs only when too low."""
    weight = kernel(past.days_to_show, horizon) * recency(past, as_of)
    if weight.sum() < MIN_ROWS:
        return "average"
    weight = weight / np.sqrt(past.gross + past.actual + 20.0)
    loss = {}
    for name, said in options.items():
        error = np.exp(said) - OFFSET - past.actual
        loss[name] = float((weight * np.abs(np.where(past.sold_out > 0, np.minimum(error, 0), error))).sum())
    best = min(loss, key=lambda name: loss[name])
    return best if loss[best] < (1 - CHAMPION_MARGIN) * loss["blend"] else "blend"


def _design(log_remaining: Floats, net: Floats, age: Ints) -> Floats:
    mean = log_remaining.mean(axis=1)
    return np.column_stack(
        [
            np.ones(len(mean)),
            log_remaining - mean[:, None],
            (mean - 4) / 2,
            (np.log1p(net) - 4) / 2,
            np.exp(-np.maximum(age, 0) / 7.0),
        ]
    )


def _fit(past: Replay, usable: np.ndarray, day: int) -> Floats:
    """Ridge of the log error of the average on the models' differences, one per grid horizon."""
    design = _design(past.log_remaining, past.net, past.age)
    mean = past.log_remaining.mean(axis=1)
    # A sell-out says only "at least this much": an average above it is no error.
    error = np.where(past.sold_out > 0, np.maximum(past.log_actual - mean, 0), past.log_actual - mean)
    penalty = RIDGE * np.eye(design.shape[1])
    penalty[0, 0] = 1.0
    result = np.zeros((len(HORIZON_GRID), design.shape[1]))
    base = recency(past, day) * usable
    for g, horizon in enumerate(HORIZON_GRID):
        weight = base * kernel(past.days_to_show, float(horizon))
        if weight.sum() >= MIN_ROWS:
            weighted = design * weight[:, None]
            result[g] = np.linalg.solve(weighted.T @ design + penalty, weighted.T @ error)
    return result


def _stacked(coefficients: Floats, log_remaining: Floats, net: Floats, age: Ints, days_to_show: Ints) -> Floats:
    place = np.interp(np.log1p(days_to_show), np.log1p(HORIZON_GRID), np.arange(len(HORIZON_GRID)))
    low = np.minimum(place.astype(np.int64), len(HORIZON_GRID) - 2)
    share = (place - low)[:, None]
    mixed = (1 - share) * coefficients[low] + share * coefficients[low + 1]
    return (_design(log_remaining, net, age) * mixed).sum(axis=1)


def _nearest(days_to_show: Ints) -> Ints:
    return np.abs(np.log1p(days_to_show)[:, None] - np.log1p(HORIZON_GRID)[None, :]).argmin(axis=1)
