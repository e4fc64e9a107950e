"""Blend of the single models: weights per horizon that would have made the smallest errors on past forecasts."""

from dataclasses import dataclass

import numpy as np

from mmt_assets.forecasting.inputs import Floats, Ints
from mmt_assets.forecasting.replay import Replay

HORIZON_GRID = np.array([1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 90, 120, 180, 365])
KERNEL_WIDTHS = (0.2, 0.35, 0.7, 1.4)
"""On log days to show; the first that holds enough past forecasts is used."""
HALF_LIFE_DAYS = 120.0
MIN_ROWS = 20.0
# Weights start where a model 10% worse than the best has two thirds of its weight, and are held near there.
STEEPNESS = 4.0
ENTROPY = 0.5
SMALLEST_START = 1e-6
STARTING_SHARES = {"boosted_trees": 0.3, "similar_concerts": 0.5}
"""Start of the weight of models that learn from finished concerts one by one, where they are as good as any: the other
models see the same curve and err alike, so what is left is for them together."""
ROUNDS = 150


@dataclass(frozen=True)
class Blend:
    """Weights of the models `names` per grid horizon, shape (grid, models), each row summing to 1."""

    names: tuple[str, ...]
    weights: Floats

    def at(self, days_to_show: Ints) -> Floats:
        """Return the weights at each row's horizon, interpolated on a log scale, shape (n, models)."""
        place = np.interp(np.log1p(days_to_show), np.log1p(HORIZON_GRID), np.arange(len(HORIZON_GRID)))
        low = np.minimum(place.astype(np.int64), len(HORIZON_GRID) - 2)
        share = (place - low)[:, None]
        return (1 - share) * self.weights[low] + share * self.weights[low + 1]


def equal_blend(names: tuple[str, ...]) -> Blend:
    """Return the average of all models, for when there is no past to choose on."""
    return Blend(names, np.full((len(HORIZON_GRID), len(names)), 1 / len(names)))


def fit_blend(past: Replay, as_of: int) -> Blend:
    """Choose the weights per horizon on past forecasts.

    Args:
        past: Replayed forecasts.
        as_of: The day for which the blend is wanted.
    """
    return Blend(past.names, np.array([_weights(past, int(horizon), as_of) for horizon in HORIZON_GRID]))


def kernel(horizons: Ints, horizon: float, width: float) -> Floats:
    """Return weights of rows by how near their days to show are, on a log scale."""
    return np.exp(-0.5 * ((np.log1p(horizons) - np.log1p(horizon)) / width) ** 2)


def recency(shows: Ints, as_of: int) -> Floats:
    """Return weights of rows that halve every `HALF_LIFE_DAYS`."""
    return 0.5 ** (np.maximum(as_of - shows, 0) / HALF_LIFE_DAYS)


def _weights(past: Replay, horizon: int, as_of: int) -> Floats:
    """Minimise the mean absolute error of the net total over the simplex, with an entropy penalty.

    Exponentiated gradient (Kivinen & Warmuth 1997), averaged over its second half. Each row's error counts
    relative to the square root of its concert's size; that of a sell-out only when the forecast was too low.
    """
    near = (kernel(past.days_to_show, horizon, width) * recency(past.show, as_of) for width in KERNEL_WIDTHS)
    weight = next((weight for weight in near if weight.sum() >= MIN_ROWS), None)
    if weight is None:
        return np.full(len(past.names), 1 / len(past.names))
    used = np.flatnonzero(weight > 1e-3 * weight.max())
    weight = weight[used] / np.sqrt(past.gross[used] + past.actual[used] + 20.0)
    said, actual, censored = past.finals[used], past.actual_final[used], past.sold_out[used] > 0

    def errors(forecast: Floats) -> Floats:
        error = forecast - actual
        return np.where(censored, np.minimum(error, 0.0), error)

    loss = np.array([(weight * np.abs(errors(column))).sum() for column in said.T])
    loss = np.maximum(loss, 1e-9)
    start = _start(past, used, loss)
    unit = (weight * np.abs(errors(said @ start))).sum() + 1e-9
    current, average = start, np.zeros_like(start)
    for step in range(ROUNDS):
        slope = (np.sign(errors(said @ current)) * weight) @ (said - actual[:, None]) / unit
        slope += ENTROPY * np.log(np.maximum(current, 1e-9) / start)
        slope -= slope @ current
        current = current * np.exp(-np.clip(0.5 / np.sqrt(1 + step / 8) * slope, -1, 1))
        current = current / current.sum()
        if step >= ROUNDS // 2:
            average += current
    return average / average.sum()


def _start(past: Replay, used: Ints, loss: Floats) -> Floats:
    """Return weights by skill alone; `STARTING_SHARES` count only where they could be learned: else they are the prior.

    Shares fall with the loss itself and not by the full steepness: on past days these models are older, so worse, than
    those that forecast today.
    """
    skill = (loss.min() / loss) ** STEEPNESS
    start = skill / skill.sum()
    prior = past.finals[used, past.names.index("prior")] if "prior" in past.names else None
    shares = {}
    for name, share in STARTING_SHARES.items():
        if name in past.names and prior is not None:
            model = past.names.index(name)
            shares[model] = share * (past.finals[used, model] != prior).mean() * loss.min() / loss[model]
    others = np.setdiff1d(np.arange(len(start)), list(shares))
    start[others] *= (1 - sum(shares.values())) / start[others].sum()
    for model, share in shares.items():
        start[model] = share
    return np.maximum(start, SMALLEST_START)
