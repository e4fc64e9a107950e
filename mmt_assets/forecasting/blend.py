"""Blend of the single models per horizon: ridge stack, average and each model, weighted by past error."""

from dataclasses import dataclass

import numpy as np

from mmt_assets.forecasting.inputs import Floats, Ints
from mmt_assets.forecasting.replay import OFFSET, Replay

HORIZON_GRID = np.array([1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 90, 120, 180, 365])
KERNEL_WIDTH = 0.35
HALF_LIFE_DAYS = 240.0
RIDGE = 8.0
MIN_ROWS = 40.0
# A model 10% worse than the best one on past forecasts gets a third of its weight.
STEEPNESS = 12.0


@dataclass(frozen=True)
class Blend:
    """Ridge coefficients and model weights per grid horizon; `names` are the models in the order of the inputs."""

    names: tuple[str, ...]
    coefficients: Floats
    weights: Floats

    def predict(self, log_remaining: Floats, net: Floats, age: Ints, days_to_show: Ints) -> Floats:
        """Return log(remaining + 2), weighted over the models, shape (n,)."""
        mean = log_remaining.mean(axis=1)
        options = {name: log_remaining[:, k] for k, name in enumerate(self.names)}
        options["average"] = mean
        options["blend"] = mean + _stacked(self.coefficients, log_remaining, net, age, days_to_show)
        return _weighted(options, self.weights[_nearest(days_to_show)])

    def champion(self, days_to_show: Ints) -> list[str]:
        """Return the name of the model that weighs most at each row's horizon."""
        names = (*self.names, "average", "blend")
        return [names[k] for k in self.weights[_nearest(days_to_show)].argmax(axis=1)]


def default_blend(names: tuple[str, ...]) -> Blend:
    """Return the average of all models, for when there is no past to choose on."""
    weights = np.zeros((len(HORIZON_GRID), len(names) + 2))
    weights[:, -2] = 1.0
    return Blend(names, np.zeros((len(HORIZON_GRID), len(names) + 4)), weights)


def fit_blend(past: Replay, as_of: int) -> tuple[Blend, Floats]:
    """Choose per horizon on past forecasts.

    Args:
        past: Replayed forecasts.
        as_of: The day for which the blend is wanted.

    Returns:
        The blend, and log(remaining + 2) that it would have said on every replayed row, from
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
    weights = np.array([_weights(past, options, int(g), as_of) for g in HORIZON_GRID])
    blend = Blend(past.names, _fit(past, past.show < as_of, as_of), weights)
    return blend, _weighted(options, weights[_nearest(past.days_to_show)])


def kernel(horizons: Ints, horizon: float, width: float = KERNEL_WIDTH) -> Floats:
    """Return weights of rows by how near their days to show are, on a log scale."""
    return np.exp(-0.5 * ((np.log1p(horizons) - np.log1p(horizon)) / width) ** 2)


def recency(past: Replay, as_of: int) -> Floats:
    """Return weights of rows that halve every `HALF_LIFE_DAYS`."""
    return 0.5 ** (np.maximum(as_of - past.show, 0) / HALF_LIFE_DAYS)


def _weights(past: Replay, options: dict[str, Floats], horizon: int, as_of: int) -> Floats:
    """Weights that fall steeply with past error: the best models share, the poor ones vanish.

    Errors are in tickets, each row relative to its concert's size, sell-outs only when too low.
    """
    weight = kernel(past.days_to_show, horizon) * recency(past, as_of)
    if weight.sum() < MIN_ROWS:
        return np.array([float(name == "average") for name in options])
    weight = weight / np.sqrt(past.gross + past.actual + 20.0)
    loss = []
    for said in options.values():
        error = np.exp(said) - OFFSET - past.actual
        loss.append((weight * np.abs(np.where(past.sold_out > 0, np.minimum(error, 0), error))).sum())
    share = (min(loss) / np.maximum(loss, 1e-9)) ** STEEPNESS
    return share / share.sum()


def _weighted(options: dict[str, Floats], weights: Floats) -> Floats:
    return (np.column_stack(list(options.values())) * weights).sum(axis=1)


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
