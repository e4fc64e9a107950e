"""Intervals: past errors replayed on today's forecast, with sell-outs right-censored.

Every past forecast gives one scenario: its errors of the net total and of the gross total, relative to the
movement still expected then (tickets to be sold plus tickets to be returned). Scenarios near in days to show and
size weigh more, newer ones too (nonexchangeable conformal prediction,
Barber et al. 2023); weights pass over censored ones as in Kaplan & Meier 1958. The spread is adapted to
the coverage that past intervals really had (Gibbs & Candes 2021).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist

import numpy as np

from mmt_assets.forecasting.blend import KERNEL_WIDTHS, Blend, kernel, recency
from mmt_assets.forecasting.inputs import Floats, Ints
from mmt_assets.forecasting.replay import OFFSET, Replay

LEVEL = 0.8
SIZE_WIDTH = 1.2
SIZE_STEP = 0.05
MIN_EFFECTIVE_ROWS = 40.0
MAX_SCENARIOS = 400
WIDE_SPREAD = 1.0
"""Standard deviation of log(1 + relative error) when there are no past forecasts."""
ADAPTATION = 0.15
SPREAD_BOUNDS = (0.7, 2.0)
# Demand beyond the largest uncensored error is known to be larger, not by how much.
BEYOND = 0.7


@dataclass(frozen=True)
class ErrorPool:
    """Errors of past forecasts.

    Attributes:
        error: Error of the net total over the expected movement. gross_error: the same of the gross total.
        censored: Sold out, so the error is at least `error`.
        log_movement, days_to_show, recent: what the weights depend on.
        spread: Factor on the errors' distance to their median. growth: how relative errors shrink with time.
        made: Scenarios that were asked for already, by size and days to show.
    """

    error: Floats
    gross_error: Floats
    censored: Floats
    log_movement: Floats
    days_to_show: Ints
    recent: Floats
    spread: float
    growth: float
    made: dict[tuple[float, int, bool], tuple[Floats, Floats, Floats]] = field(default_factory=dict, repr=False)


def movement(remaining: Floats, final: Floats, net: Floats) -> Floats:
    """Return the tickets still to be sold or returned, plus 2: the unit of errors.

    Args:
        remaining: Gross tickets expected from now to the show.
        final: Net tickets expected at the show.
        net: Net tickets now.
    """
    return remaining + np.maximum(net + remaining - final, 0.0) + OFFSET


def pool_errors(past: Replay, blend: Blend, as_of: int) -> ErrorPool:
    """Collect the errors of replayed forecasts and adapt the spread to the coverage they had."""
    weights = blend.at(past.days_to_show)
    remaining, final = (past.remaining * weights).sum(axis=1), (past.finals * weights).sum(axis=1)
    unit = movement(remaining, final, past.net)
    error = (past.actual_final - final) / unit
    half, full = _spread(past.half_error), _spread(np.log(past.actual + OFFSET) - np.log(remaining + OFFSET))
    # Relative errors half way = errors of the total and of the timing together.
    growth = np.log2(np.sqrt(half**2 + full**2) / full) if full > 0 else 0.0
    pool = ErrorPool(
        error=error,
        gross_error=(past.actual - remaining) / unit,
        censored=past.sold_out,
        log_movement=np.log(unit),
        days_to_show=past.days_to_show,
        recent=recency(past.show, as_of),
        spread=1.0,
        growth=min(float(growth), 0.6),
    )
    return replace(pool, spread=_adapted_spread(pool, past), made={})


def no_errors() -> ErrorPool:
    """Return a wide normal pool, for when nothing has finished yet."""
    places = (np.arange(99) + 1) / 100
    error = np.expm1([NormalDist(0, WIDE_SPREAD).inv_cdf(p) for p in places])
    zero = np.zeros(len(error))
    return ErrorPool(error, error, zero, zero, np.zeros(len(error), dtype=np.int64), zero + 1, 1.0, 0.3)


def scenarios(
    pool: ErrorPool, log_movement: float, days_to_show: int, *, centred: bool = True
) -> tuple[Floats, Floats, Floats]:
    """Return (net errors, gross errors, weights) for one forecast, net errors ascending, weights summing to 1.

    Centred errors have median 0: past bias moves with the season, and correcting for it made forecasts worse.
    """
    # Concerts of like size share their scenarios: rounding makes them share the work, too.
    log_movement = round(log_movement / SIZE_STEP) * SIZE_STEP
    key = (log_movement, days_to_show, centred)
    if key not in pool.made:
        pool.made[key] = _scenarios(pool, log_movement, days_to_show, centred=centred)
    return pool.made[key]


def _scenarios(
    pool: ErrorPool, log_movement: float, days_to_show: int, *, centred: bool
) -> tuple[Floats, Floats, Floats]:
    weight = _weights(pool, log_movement, days_to_show)
    used = np.argsort(-weight, kind="stable")[:MAX_SCENARIOS]
    used = used[weight[used] > 0]
    error, gross, mass = _censored_weights(pool.error[used], pool.gross_error[used], pool.censored[used], weight[used])
    middle, gross_middle = quantile(error, mass, 0.5), quantile(gross, mass, 0.5)
    base, gross_base = (0.0, 0.0) if centred else (middle, gross_middle)
    return base + pool.spread * (error - middle), gross_base + pool.spread * (gross - gross_middle), mass


def quantiles(values: Floats, weights: Floats, levels: Sequence[float]) -> Floats:
    """Return weighted quantiles, interpolated between midpoints of the weights."""
    order = np.argsort(values, kind="stable")
    weights = weights[order] / weights.sum()
    return np.interp(levels, np.cumsum(weights) - weights / 2, values[order])


def quantile(values: Floats, weights: Floats, level: float) -> float:
    """Return one weighted quantile."""
    return float(quantiles(values, weights, [level])[0])


def _weights(pool: ErrorPool, log_movement: float, days_to_show: int) -> Floats:
    size = np.exp(-0.5 * ((pool.log_movement - log_movement) / SIZE_WIDTH) ** 2)
    for width in KERNEL_WIDTHS:
        near = kernel(pool.days_to_show, days_to_show, width) * pool.recent
        weight = near * size
        if weight.sum() ** 2 / max((weight**2).sum(), 1e-12) >= MIN_EFFECTIVE_ROWS:
            return weight
    return pool.recent * kernel(pool.days_to_show, days_to_show, KERNEL_WIDTHS[-1]) + 1e-6


def _censored_weights(error: Floats, gross: Floats, censored: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    order = np.argsort(error, kind="stable")
    error, gross, hidden, weight = error[order], gross[order], censored[order] > 0, weight[order]
    if not hidden.any():
        return error, gross, weight / weight.sum()
    at_risk = np.cumsum(weight[::-1])[::-1]
    survival = np.cumprod(np.where(hidden, 1.0, 1 - weight / at_risk))
    mass = np.concatenate([[1.0], survival[:-1]]) - survival
    rest = float(survival[-1])
    if rest > 1e-9:  # noqa: PLR2004
        # The largest errors are censored: their mass lies beyond every error seen.
        error = np.append(error, error[-1] + BEYOND * (1 + max(error[-1], 0.0)))
        gross, mass = np.append(gross, error[-1]), np.append(mass, rest)
    return error, gross, np.asarray(mass, dtype=np.float64)


def _adapted_spread(pool: ErrorPool, past: Replay) -> float:
    """Walk through the past days and widen or narrow by the coverage of intervals made on each day."""
    log_spread = 0.0
    for day in np.unique(past.learned_on):
        known = np.flatnonzero(past.show < day)
        rows = np.flatnonzero((past.learned_on == day) & (past.sold_out == 0))[::4]
        if len(known) < MIN_EFFECTIVE_ROWS or not len(rows):
            continue
        part = ErrorPool(
            error=pool.error[known],
            gross_error=pool.gross_error[known],
            censored=pool.censored[known],
            log_movement=pool.log_movement[known],
            days_to_show=pool.days_to_show[known],
            recent=recency(past.show[known], int(day)),
            spread=float(np.exp(log_spread)),
            growth=0.0,
        )
        missed = 0
        for row in rows:
            error, _, mass = scenarios(part, float(pool.log_movement[row]), int(pool.days_to_show[row]))
            low, high = quantile(error, mass, (1 - LEVEL) / 2), quantile(error, mass, (1 + LEVEL) / 2)
            missed += not low <= pool.error[row] <= high
        log_spread += ADAPTATION * (missed / len(rows) - (1 - LEVEL)) / (1 - LEVEL) * min(len(rows) / 10, 1)
        log_spread = float(np.clip(log_spread, *np.log(SPREAD_BOUNDS)))
    return float(np.exp(log_spread))


def _spread(values: Floats) -> float:
    low, high = np.quantile(values, [0.1, 0.9])
    return float(high - low)
