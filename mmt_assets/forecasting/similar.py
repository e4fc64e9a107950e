"""Similar concerts: what finished ones sold or lost beyond their own pace, weighted by how alike they stood.

A Gaussian process (Rasmussen & Williams 2006, chapter 2) per number of days to show. Two concerts are alike by how
their sales, pace and level stood, by the weekday of the show and by how near in the year they are; every finished
concert's surprise counts by that likeness. Errors weigh by their absolute value, not their square: a few rounds of
reweighting (Andrews & Mallows 1974 write the Laplace law as normals of unequal variance) keep one odd concert from
pulling its neighbours along. Where nothing is alike the concert's own pace stays as it is.
"""

from dataclasses import dataclass

import numpy as np

from mmt_assets.forecasting.inputs import Floats, Ints
from mmt_assets.forecasting.standing import HORIZON_GRID, Lessons, Standing

MIN_CONCERTS = 30
MAX_CONCERTS = 400
"""Newest concerts per horizon: a year of daily events; time grows with their cube."""
NOISE = 2.0
"""Variance of a concert's own surprise over that of what it shares with others, both of about unit size."""
STATE_LENGTH = 1.5
"""Distance in standard deviations per feature at which two states are no longer alike."""
SEASON_DAYS = 20.0
STATE, TREND, WEEKDAY, SEASON, COMMON = 1.0, 0.1, 0.15, 0.3, 0.5
"""Shares of the likenesses: in state, linear in state, same weekday, near in the year, and all alike."""
ROUNDS = 2
SMALLEST_MISS = 0.15
LARGEST_FEATURE = 4.0
SMALLEST_REMAINDER = 5.0
_NORMAL_MEDIAN = 0.6745
_MEAN_TO_DEVIATION = 1.25


@dataclass(frozen=True)
class _Likeness:
    """What concerts are compared by: standardised state (n, k), weekday of the show (n,), angle of the year (n,)."""

    state: Floats
    weekday: Ints
    angle: Floats

    def to(self, other: "_Likeness") -> Floats:
        """Return the likeness of each of n concerts to each of m others, shape (n, m)."""
        width = self.state.shape[1]
        product = self.state @ other.state.T
        own, others = (self.state**2).sum(axis=1), (other.state**2).sum(axis=1)
        apart = np.maximum(own[:, None] + others[None, :] - 2 * product, 0.0)
        season = 2 * np.pi * SEASON_DAYS / 365.25
        near = np.exp((np.cos(self.angle[:, None] - other.angle[None, :]) - 1) / season**2)
        return (
            STATE * np.exp(-apart / (2 * STATE_LENGTH**2 * width))
            + TREND * product / width
            + WEEKDAY * (self.weekday[:, None] == other.weekday[None, :])
            + SEASON * near
            + COMMON
        )


@dataclass(frozen=True)
class _AtHorizon:
    """The finished concerts at one number of days to show, each with its share in others' surprise."""

    center: Floats
    scale: Floats
    concerts: _Likeness
    share: Floats

    def surprise(self, now: Standing) -> Floats:
        return _likeness(now, self.center, self.scale).to(self.concerts) @ self.share


@dataclass(frozen=True)
class SimilarConcerts:
    """Fitted comparisons by days to show, ascending."""

    horizons: Ints
    fitted: tuple[_AtHorizon, ...]

    def net_change(self, now: Standing) -> Floats:
        """Return the expected change of net tickets until the show, shape (n,)."""
        place = np.interp(np.log1p(now.days_to_show), np.log1p(self.horizons), np.arange(len(self.horizons)))
        low = np.minimum(place.astype(np.int64), max(len(self.horizons) - 2, 0))
        result = np.zeros(len(place))
        for k, at in enumerate(self.fitted):
            # Each concert is compared at the horizons before and after its own.
            nearness = np.where(low == k, 1 - (place - low), np.where(low + 1 == k, place - low, 0.0))
            rows = np.flatnonzero(nearness > 0)
            if len(rows):
                result[rows] += nearness[rows] * at.surprise(now.take(rows))
        return now.pace_change + result * _unit(now)


def fit_similar(learned: Lessons) -> SimilarConcerts | None:
    """Compare at every horizon that holds at least `MIN_CONCERTS`; None when none does."""
    horizons, fitted = [], []
    for days in HORIZON_GRID:
        rows = np.flatnonzero(learned.standing.days_to_show == days)[-MAX_CONCERTS:]
        if len(rows) >= MIN_CONCERTS:
            then, weight = learned.standing.take(rows), learned.weight[rows]
            horizons.append(days)
            fitted.append(_fit(then, (learned.wanted[rows] - then.pace_change) / _unit(then), weight * _unit(then)))
    return SimilarConcerts(np.array(horizons), tuple(fitted)) if horizons else None


def _fit(then: Standing, surprise: Floats, weight: Floats) -> _AtHorizon:
    state = _state(then)
    center, scale = state.mean(axis=0), state.std(axis=0) + 1e-6
    concerts = _likeness(then, center, scale)
    alike = concerts.to(concerts)
    size = _MEAN_TO_DEVIATION * np.average(np.abs(surprise), weights=weight) + 1e-6
    noise = NOISE / np.maximum(weight / weight.mean(), 0.05)
    miss, share = np.ones(len(surprise)), np.zeros(len(surprise))
    for _ in range(ROUNDS):
        share = np.linalg.solve(alike + np.diag(noise * miss), surprise / size)
        miss = np.maximum(np.abs(surprise / size - alike @ share), SMALLEST_MISS) / _NORMAL_MEDIAN
    return _AtHorizon(center, scale, concerts, share * size)


def _unit(some: Standing) -> Floats:
    """Return the tickets that a surprise is counted in: the noise of what is still to come."""
    return np.sqrt(np.maximum(some.pace_remaining, 0.0) + SMALLEST_REMAINDER)


def _likeness(some: Standing, center: Floats, scale: Floats) -> _Likeness:
    state = np.clip((_state(some) - center) / scale, -LARGEST_FEATURE, LARGEST_FEATURE)
    return _Likeness(state, (some.show + 3) % 7, (2 * np.pi / 365.25 * some.show).astype(np.float64))


def _state(some: Standing) -> Floats:
    gross = np.maximum(some.gross, 0.0)
    sold = (some.net, gross, some.last_three_days, some.last_week, some.last_two_weeks, some.last_four_weeks)
    columns = [
        *(np.log1p(np.maximum(tickets, 0.0)) for tickets in sold),
        np.log((gross + 5) / (some.prior_so_far + 5)),
        np.log(np.maximum(some.prior_total, 1.0)),
        np.log(some.prior_remaining * (gross + 10) / (some.prior_so_far + 10) + 2),
        np.log1p(np.maximum(some.age, 0)),
        np.log((np.maximum(some.last_week, 0.0) + 3) / (some.prior_last_week + 3)),
    ]
    return np.column_stack(columns)
