"""Pick-up regression: what finished concerts still sold from the same days to show, given how they stood then.

Two ridge regressions per days to show on all finished concerts (the regression booking models of Weatherford &
Kimes 2003): one of the log remaining tickets, which suits worlds where concerts differ by factors, and one in
tickets, pulled towards half additive pick-up and half prior, which suits worlds where they differ little.
"""

from dataclasses import dataclass

import numpy as np

from mmt_assets.forecasting.booking_state import BookingState, RunningTotals
from mmt_assets.forecasting.history import Origin
from mmt_assets.forecasting.inputs import Bools, Floats, Ints

HORIZON_GRID = np.array([1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 90, 120, 180])
HALF_LIFE_DAYS = 365.0
RIDGE = 20.0
MIN_CONCERTS = 25
# Several harmonics under one ridge: local in the season, back to the mean where no season was seen yet.
HARMONICS = 4
# Standardised features beyond this are extrapolation.
LARGEST_FEATURE = 4.0
OFFSET = 2.0
SMALLEST_CONCERT = 5.0


@dataclass(frozen=True)
class PickupRegression:
    """Fitted coefficients per grid horizon g and feature f; horizons with too few concerts are not `usable`.

    Attributes:
        center, scale, log_coefficients: Shape (g, f), (g, f) and (g, f + 1), intercept first.
        log_top: Largest log remaining seen, shape (g,).
        mean_pickup: Mean remaining tickets, shape (g,). linear: coefficients, shape (g, 6).
        usable: Shape (g,).
    """

    center: Floats
    scale: Floats
    log_coefficients: Floats
    log_top: Floats
    mean_pickup: Floats
    linear: Floats
    usable: Bools

    def remaining(self, origin: Origin, prior_remaining: Floats, prior_total: Floats) -> tuple[Floats, Floats]:
        """Return the remaining gross tickets by the log and the linear regression, each of shape (n,).

        Args:
            origin: The concerts; those not on sale yet keep the prior.
            prior_remaining: Prior expectation of the remaining tickets, shape (n,).
            prior_total: Prior expectation of the final total, shape (n,).
        """
        horizon = origin.days_to_show
        state = RunningTotals.of(origin.history).state(np.arange(len(horizon)), horizon)
        features = _log_features(state, prior_remaining, origin.history.concerts.show)
        logs = np.empty((len(HORIZON_GRID), len(horizon)))
        tickets = np.empty_like(logs)
        for g in range(len(HORIZON_GRID)):
            if not self.usable[g]:
                logs[g] = tickets[g] = prior_remaining
                continue
            design = np.clip((features - self.center[g]) / self.scale[g], -LARGEST_FEATURE, LARGEST_FEATURE)
            said = self.log_coefficients[g, 0] + design @ self.log_coefficients[g, 1:]
            logs[g] = np.exp(np.clip(said, np.log(OFFSET), self.log_top[g])) - OFFSET
            # The mean pick-up belongs to the horizon, so it is interpolated with the result.
            tickets[g] = _linear_features(state, self.mean_pickup[g], prior_remaining, prior_total) @ self.linear[g]
        started = (origin.age >= 0) & (prior_remaining > 0)
        first, second = (
            np.where(started, np.maximum(_between(values, horizon), 0.0), prior_remaining) for values in (logs, tickets)
        )
        return first, second


def fit_regression(finished: Origin, prior_path: Floats, as_of: int) -> PickupRegression:
    """Fit both regressions.

    Args:
        finished: Finished concerts, complete.
        prior_path: Prior tickets per day to show of each, shape (n, window + 1).
        as_of: The day; weights halve every `HALF_LIFE_DAYS` before it.
    """
    shows = finished.history.concerts.show
    ahead = np.cumsum(prior_path, axis=1)
    total = np.maximum(ahead[:, -1], SMALLEST_CONCERT) if len(shows) else np.empty(0)
    recent = 0.5 ** ((as_of - shows) / HALF_LIFE_DAYS)
    count = len(HORIZON_GRID)
    width = 13 + 2 * HARMONICS
    center, scale, logs = np.zeros((count, width)), np.ones((count, width)), np.zeros((count, width + 1))
    top, mean_pickup = np.zeros(count), np.zeros(count)
    linear, usable = np.zeros((count, 6)), np.zeros(count, dtype=np.bool_)
    totals = RunningTotals.of(finished.history)
    for g, horizon in enumerate(HORIZON_GRID):
        # A sell-out hides demand, and a concert not yet on sale has no state to learn from.
        rows = (finished.sale_days >= horizon) & (finished.open[:, 0] if len(shows) else np.zeros(0, dtype=np.bool_))
        if rows.sum() < MIN_CONCERTS:
            continue
        usable[g] = True
        state = totals.state(np.flatnonzero(rows), np.full(rows.sum(), horizon))
        weight, prior_remaining = recent[rows], ahead[rows, horizon - 1]
        remaining = np.maximum(finished.gross[rows] - state.gross, 0.0)
        features = _log_features(state, prior_remaining, shows[rows])
        center[g] = np.average(features, axis=0, weights=weight)
        spread = np.sqrt(np.average((features - center[g]) ** 2, axis=0, weights=weight))
        scale[g] = np.where(spread > 1e-6, spread, 1.0)  # noqa: PLR2004
        design = np.column_stack([np.ones(rows.sum()), (features - center[g]) / scale[g]])
        target = np.log(remaining + OFFSET)
        logs[g] = _ridge(design, target, weight, np.append(1e-6, np.full(width, RIDGE)))
        top[g] = target.max()
        mean_pickup[g] = remaining.mean()
        weight = weight / total[rows]
        weight /= weight.mean()
        design = _linear_features(state, mean_pickup[g], prior_remaining, total[rows])
        size = np.sqrt(np.average(design**2, axis=0, weights=weight)) + 1e-9
        base = np.array([0.5, 0.5, 0.0, 0.0, 0.0, 0.0])
        gain = _ridge(design / size, remaining - design @ base, weight, np.full(6, RIDGE))
        linear[g] = base + gain / size
    return PickupRegression(center, scale, logs, top, mean_pickup, linear, usable)


def _log_features(state: BookingState, prior_remaining: Floats, show: Ints) -> Floats:
    angle = 2 * np.pi * np.outer(np.arange(1, HARMONICS + 1), show) / 365.25
    columns = [
        np.log(prior_remaining + OFFSET),
        *(np.log1p(np.maximum(sold, 0.0)) for sold in (state.last_three, state.last_week, state.last_four_weeks)),
        np.log1p(state.net),
        np.log1p(np.maximum(state.gross, 0.0)),
        *np.eye(7)[(show + 3) % 7].T,
        *np.sin(angle),
        *np.cos(angle),
    ]
    return np.column_stack(columns)


def _linear_features(state: BookingState, mean_pickup: float, prior_remaining: Floats, prior_total: Floats) -> Floats:
    mean = np.full(len(prior_remaining), mean_pickup)
    return np.column_stack([mean, prior_remaining, state.last_week, state.last_four_weeks, state.net, prior_total])


def _ridge(design: Floats, target: Floats, weight: Floats, penalty: Floats) -> Floats:
    weighted = design * weight[:, None]
    return np.asarray(np.linalg.solve(weighted.T @ design + np.diag(penalty), weighted.T @ target), dtype=np.float64)


def _between(values: Floats, horizon: Ints) -> Floats:
    """Interpolate rows of `values` (one per grid horizon) to each concert's own, on a log scale."""
    place = np.interp(np.log1p(horizon), np.log1p(HORIZON_GRID), np.arange(len(HORIZON_GRID)))
    low = np.minimum(place.astype(np.int64), len(HORIZON_GRID) - 2)
    share, column = place - low, np.arange(len(horizon))
    return (1 - share) * values[low, column] + share * values[low + 1, column]
