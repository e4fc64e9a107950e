"""Intervals: past errors replayed on today's forecast, with sell-outs right-censored.

Every past forecast gives one scenario: its log error of the remaining gross tickets and its error of the share
kept. Scenarios near in days to show and size weigh more, newer ones too (nonexchangeable conformal prediction,
Barber et al. 2023); weights pass over censored ones as in Kaplan & Meier 1958. The spread is adapted to
the coverage that past intervals really had (Gibbs & Candes 2021).
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from mmt_assets.forecasting.blend import kernel, recency
from mmt_assets.forecasting.inputs import Floats, Ints
from mmt_assets.forecasting.replay import Replay

LEVEL = 0.8
SIZE_WIDTH = 1.2
MIN_EFFECTIVE_ROWS = 40.0
MAX_SCENARIOS = 400
WIDE_SPREAD = 1.0
"""Standard deviation of the log error when there are no past forecasts."""
ADAPTATION = 0.15
SPREAD_BOUNDS = (0.7, 2.0)
# Demand beyond the largest uncensored error is known to be larger, not by how much.
BEYOND = 0.7


@dataclass(frozen=True)
class ErrorPool:
    """Errors of past forecasts.

    Attributes:
        error: Log error of the remaining gross tickets. kept_error: standardised error of the share kept.
        censored: Sold out, so the error is at least `error`.
        log_said, days_to_show, recent: what the weights depend on.
        spread: Factor on the errors' distance to their median. growth: how relative errors shrink with time.
    """

    error: Floats
    kept_error: Floats
    censored: Floats
    log_said: Floats
    days_to_show: Ints
    recent: Floats
    spread: float
    growth: float


def pool_errors(past: Replay, said: Floats, as_of: int) -> ErrorPool:
    """Collect the errors of replayed forecasts and adapt the spread to the coverage they had."""
    sd = np.sqrt(past.expected_kept * (1 - past.expected_kept) + 1e-4)
    kept_error = np.clip((past.actual_kept - past.expected_kept) / sd, -20, 20)
    error = past.log_actual - said
    half, full = _spread(past.half_error), _spread(error)
    # Relative errors half way = errors of the total and of the timing together.
    growth = np.log2(np.sqrt(half**2 + full**2) / full) if full > 0 else 0.0
    pool = ErrorPool(
        error, kept_error, past.sold_out, said, past.days_to_show, recency(past, as_of), 1.0, min(float(growth), 0.6)
    )
    return ErrorPool(**{**pool.__dict__, "spread": _adapted_spread(pool, past)})


def no_errors() -> ErrorPool:
    """Return a wide normal pool, for when nothing has finished yet."""
    places = (np.arange(99) + 1) / 100
    error = np.array([NormalDist(0, WIDE_SPREAD).inv_cdf(p) for p in places])
    zero = np.zeros(len(error))
    return ErrorPool(error, zero, zero, zero, np.zeros(len(error), dtype=np.int64), zero + 1, 1.0, 0.3)


def scenarios(pool: ErrorPool, log_said: float, days_to_show: int) -> tuple[Floats, Floats, Floats]:
    """Return (log errors, kept errors, weights) for one forecast, errors ascending, weights summing to 1."""
    weight = _weights(pool, log_said, days_to_show)
    used = np.argsort(-weight, kind="stable")[:MAX_SCENARIOS]
    used = used[weight[used] > 0]
    error, kept, mass = _censored_weights(pool.error[used], pool.kept_error[used], pool.censored[used], weight[used])
    middle = quantile(error, mass, 0.5)
    return middle + pool.spread * (error - middle), kept, mass


def quantile(values: Floats, weights: Floats, level: float) -> float:
    """Return the weighted quantile, interpolated between midpoints of the weights."""
    order = np.argsort(values, kind="stable")
    weights = weights[order] / weights.sum()
    return float(np.interp(level, np.cumsum(weights) - weights / 2, values[order]))


def _weights(pool: ErrorPool, log_said: float, days_to_show: int) -> Floats:
    size = np.exp(-0.5 * ((pool.log_said - log_said) / SIZE_WIDTH) ** 2)
    for width in (0.35, 0.7, 1.4):
        near = kernel(pool.days_to_show, days_to_show, width) * pool.recent
        weight = near * size
        if weight.sum() ** 2 / max((weight**2).sum(), 1e-12) >= MIN_EFFECTIVE_ROWS:
            return weight
    return pool.recent * kernel(pool.days_to_show, days_to_show, 1.4) + 1e-6


def _censored_weights(error: Floats, kept: Floats, censored: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    order = np.argsort(error, kind="stable")
    error, kept, hidden, weight = error[order], kept[order], censored[order] > 0, weight[order]
    if not hidden.any():
        return error, kept, weight / weight.sum()
    at_risk = np.cumsum(weight[::-1])[::-1]
    survival = np.cumprod(np.where(hidden, 1.0, 1 - weight / at_risk))
    mass = np.concatenate([[1.0], survival[:-1]]) - survival
    rest = float(survival[-1])
    if rest > 1e-9:  # noqa: PLR2004
        # The largest errors are censored: their mass lies beyond every error seen.
        error = np.append(error, error[-1] + BEYOND)
        kept, mass = np.append(kept, 0.0), np.append(mass, rest)
    return error, kept, np.asarray(mass, dtype=np.float64)


def _adapted_spread(pool: ErrorPool, past: Replay) -> float:
    """Walk through the past days and widen or narrow by the coverage of intervals made on each day."""
    log_spread = 0.0
    for day in np.unique(past.as_of):
        known = np.flatnonzero(past.show < day)
        rows = np.flatnonzero((past.as_of == day) & (past.sold_out == 0))[::4]
        if len(known) < MIN_EFFECTIVE_ROWS or not len(rows):
            continue
        part = ErrorPool(
            pool.error[known],
            pool.kept_error[known],
            pool.censored[known],
            pool.log_said[known],
            pool.days_to_show[known],
            0.5 ** ((day - past.show[known]) / 240.0),
            float(np.exp(log_spread)),
            0.0,
        )
        missed = 0
        for row in rows:
            error, _, mass = scenarios(part, float(pool.log_said[row]), int(pool.days_to_show[row]))
            low, high = quantile(error, mass, (1 - LEVEL) / 2), quantile(error, mass, (1 + LEVEL) / 2)
            missed += not low <= pool.error[row] <= high
        log_spread += ADAPTATION * (missed / len(rows) - (1 - LEVEL)) / (1 - LEVEL) * min(len(rows) / 10, 1)
        log_spread = float(np.clip(log_spread, *np.log(SPREAD_BOUNDS)))
    return float(np.exp(log_spread))


def _spread(values: Floats) -> float:
    low, high = np.quantile(values, [0.1, 0.9])
    return float(high - low)
