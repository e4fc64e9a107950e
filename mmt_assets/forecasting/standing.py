"""How concerts stood so many days before their show, what was to be expected then, and what came of it.

The boosted trees and the comparison with similar concerts both learn from these rows. Expected are two things: what
the pooled prior says, and the concert's own pace, which is the prior scaled by how its sales ran against it so far.
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from mmt_assets.forecasting.booking_state import RunningTotals
from mmt_assets.forecasting.history import Origin, select
from mmt_assets.forecasting.inputs import Bools, Floats, Ints

HORIZON_GRID = (1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 75, 100, 150)
HALF_LIFE_DAYS = 365.0
MIN_CONCERTS = 60
MAX_CONCERTS = 800
"""Newest finished concerts that are learned from: more hardly helped and cost time on every replayed day."""
NEAR_DAYS, FAR_DAYS = 7, 28
"""Days to show up to which a concert's pace is judged by the near setting, and from which on by the far one."""
RECENT_DAYS = 7
SMALLEST_SIZE = 20.0
"""Tickets added to a concert's size in the weights, so that a nearly empty one does not count without bound."""


@dataclass(frozen=True)
class Shrinkage:
    """How a concert's own pace is judged, near the show and far from it: (alpha, memory), see `own_pace`."""

    near: tuple[float, float]
    far: tuple[float, float]

    def at(self, days_to_show: Ints) -> tuple[Floats, Floats]:
        """Return alpha and memory at each row's days to show, in between interpolated on a log scale."""
        place = np.log(np.maximum(days_to_show, 1)) - np.log(NEAR_DAYS)
        share = np.clip(place / np.log(FAR_DAYS / NEAR_DAYS), 0.0, 1.0)
        alpha, memory = ((1 - share) * near + share * far for near, far in zip(self.near, self.far, strict=True))
        return alpha, memory


@dataclass(frozen=True)
class Standing:
    """n concerts, each so many days before its show; every field has shape (n,).

    Attributes:
        days_to_show, age, show: Integer days; age is negative before the sale.
        capacity, demand: As in `Concerts`, NaN when unknown.
        net, gross, refunded: Tickets so far.
        last_day, last_three_days, last_week, last_two_weeks, last_four_weeks, last_sixty_days: Gross tickets of them.
        prior_total, prior_so_far, prior_last_week: Gross tickets that the prior expects in all, and expected until
            then and in the last week.
        prior_remaining: Gross tickets that the prior still expects. prior_change: the same in net tickets.
        pace_remaining, pace_change: The same by the concert's own pace.
    """

    days_to_show: Ints
    age: Ints
    show: Ints
    capacity: Floats
    demand: Floats
    net: Floats
    gross: Floats
    refunded: Floats
    last_day: Floats
    last_three_days: Floats
    last_week: Floats
    last_two_weeks: Floats
    last_four_weeks: Floats
    last_sixty_days: Floats
    prior_total: Floats
    prior_so_far: Floats
    prior_last_week: Floats
    prior_remaining: Floats
    prior_change: Floats
    pace_remaining: Floats
    pace_change: Floats

    def take(self, rows: Ints | Bools) -> Self:
        """Return these rows."""
        return type(self)(*(getattr(self, column.name)[rows] for column in fields(self)))

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """Return the rows of all parts."""
        return cls(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(cls)))


@dataclass(frozen=True)
class Expected:
    """What was to be expected of n concerts, each field of shape (n,).

    Attributes:
        so_far: Gross tickets that the prior expected until then. last_week: in the last week of it.
        remaining: From then to the show.
        remaining_kept: Those of the remaining ones that are kept to the show.
        kept: Share of the tickets held then that is kept to the show.
        pace: Factor of the concert's own sales over the prior.
    """

    so_far: Floats
    last_week: Floats
    remaining: Floats
    remaining_kept: Floats
    kept: Floats
    pace: Floats


@dataclass(frozen=True)
class Lessons:
    """Finished concerts at the `HORIZON_GRID`, horizon by horizon, newest last.

    Attributes:
        standing: How they stood. change: net tickets from then to the show.
        sold_out: Demand is hidden: the change would have been at least this. weight: how much each row counts.
    """

    standing: Standing
    change: Floats
    sold_out: Bools
    weight: Floats

    @property
    def wanted(self) -> Floats:
        """The change; where a sell-out hides demand what was seen or the own pace, whichever is more."""
        return np.where(self.sold_out, np.maximum(self.change, self.standing.pace_change), self.change)


def own_pace(origin: Origin, prior_past: Floats, shrinkage: Shrinkage) -> Floats:
    """Return the Gamma-Poisson factor of own sales over the prior, shape (n,).

    factor = (alpha + sum memory^age y) / (alpha + sum memory^age expected), over open days.

    Args:
        origin: The concerts.
        prior_past: Prior path, shape (n, window + 1).
        shrinkage: alpha, the tickets of evidence that the prior is worth, and memory, the discount per day of the own
            sales.
    """
    alpha, memory = shrinkage.at(origin.days_to_show)
    days_ago = origin.history.days_out[None, :] - origin.days_to_show[:, None]
    weight = np.where(origin.open & (days_ago >= 0), memory[:, None] ** np.maximum(days_ago, 0), 0.0)
    seen = (weight * np.maximum(origin.history.sold, 0.0)).sum(axis=1)
    expected = (weight * prior_past).sum(axis=1)
    return (alpha + seen) / (alpha + expected)


def _paces(finished: Origin, prior_path: Floats, shrinkage: Shrinkage) -> Floats:
    """Return `own_pace` of all concerts at every horizon of the grid, shape (n, grid), in one go."""
    alpha, memory = shrinkage.at(np.array(HORIZON_GRID))
    days_ago = finished.history.days_out[:, None] - np.array(HORIZON_GRID)[None, :]
    weight = np.where(days_ago >= 0, memory[None, :] ** np.maximum(days_ago, 0), 0.0)
    seen = (np.maximum(finished.history.sold, 0.0) * finished.open) @ weight
    return (alpha + seen) / (alpha + (prior_path * finished.open) @ weight)


def share_kept(refund_rates: Floats) -> Floats:
    """Return the share of tickets that are still held at the show, by days to show, one entry longer than the rates."""
    return np.concatenate([[1.0], np.cumprod(1.0 - refund_rates)])


def standing(origin: Origin, totals: RunningTotals, rows: Ints, days_to_show: Ints, expected: Expected) -> Standing:
    """Return how the concerts at these rows of an origin stood so many days before their show."""
    concerts = origin.history.concerts
    state = totals.state(rows, days_to_show)

    def within(days: int) -> Floats:
        return state.gross - totals.at(totals.gross, rows, days_to_show + days)

    lost = (1 - expected.kept) * state.net
    return Standing(
        days_to_show=days_to_show,
        age=origin.sale_days[rows] - days_to_show,
        show=concerts.show[rows],
        capacity=concerts.capacity[rows],
        demand=concerts.demand[rows],
        net=state.net,
        gross=state.gross,
        refunded=totals.at(totals.refunded, rows, days_to_show),
        last_day=within(1),
        last_three_days=state.last_three,
        last_week=state.last_week,
        last_two_weeks=within(14),
        last_four_weeks=state.last_four_weeks,
        last_sixty_days=within(60),
        prior_total=expected.so_far + expected.remaining,
        prior_so_far=expected.so_far,
        prior_last_week=expected.last_week,
        prior_remaining=expected.remaining,
        prior_change=expected.remaining_kept - lost,
        pace_remaining=expected.remaining * expected.pace,
        pace_change=expected.remaining_kept * expected.pace - lost,
    )


def standing_now(
    origin: Origin, prior_future: Floats, prior_past: Floats, refund_rates: Floats, shrinkage: Shrinkage
) -> Standing:
    """Return how all concerts of an origin stand on its day.

    Args:
        origin: The concerts.
        prior_future: Prior path ahead, shape (n, horizon).
        prior_past: Prior path so far, shape (n, window + 1); columns ahead are not read.
        refund_rates: Share of tickets returned per day to show, shape (horizon,).
        shrinkage: How the own pace is judged.
    """
    days_ago = origin.history.days_out[None, :] - origin.days_to_show[:, None]
    kept = share_kept(refund_rates)
    expected = Expected(
        so_far=(prior_past * (days_ago >= 0)).sum(axis=1),
        last_week=(prior_past * ((days_ago >= 0) & (days_ago < RECENT_DAYS))).sum(axis=1),
        remaining=prior_future.sum(axis=1),
        remaining_kept=(prior_future * kept[:-1]).sum(axis=1),
        kept=kept[origin.days_to_show],
        pace=own_pace(origin, prior_past, shrinkage),
    )
    rows = np.arange(len(origin.days_to_show))
    return standing(origin, RunningTotals.of(origin.history), rows, origin.days_to_show, expected)


def lessons(
    finished: Origin, prior_path: Floats, refund_rates: Floats, shrinkage: Shrinkage, as_of: int
) -> Lessons | None:
    """Return what the newest finished concerts teach; None when fewer than `MIN_CONCERTS` have finished.

    Args:
        finished: n finished concerts, complete, ordered by show.
        prior_path: Prior tickets per day to show of each, shape (n, window + 1).
        refund_rates: Share of tickets returned per day to show, shape (window + 1,).
        shrinkage: How the own pace is judged.
        as_of: The day; weights halve every `HALF_LIFE_DAYS` before it.
    """
    if len(finished.days_to_show) < MIN_CONCERTS:
        return None
    newest = np.arange(max(len(finished.days_to_show) - MAX_CONCERTS, 0), len(finished.days_to_show))
    finished, prior_path = select(finished, newest), prior_path[newest]
    kept = share_kept(refund_rates)
    total = prior_path.sum(axis=1)
    ahead, ahead_kept = np.cumsum(prior_path, axis=1), np.cumsum(prior_path * kept[:-1], axis=1)
    recent = 0.5 ** ((as_of - finished.history.concerts.show) / HALF_LIFE_DAYS)
    weight = recent / np.sqrt(np.maximum(finished.gross, 0.0) + SMALLEST_SIZE)
    totals = RunningTotals.of(finished.history)
    paces = _paces(finished, prior_path, shrinkage)
    parts, used = [], []
    for place, horizon in enumerate(HORIZON_GRID):
        rows = np.flatnonzero((finished.sale_days >= horizon) & (horizon < prior_path.shape[1]))
        if not len(rows):
            continue
        days = np.full(len(rows), horizon)
        expected = Expected(
            so_far=total[rows] - ahead[rows, horizon - 1],
            last_week=ahead[rows, min(horizon + RECENT_DAYS, ahead.shape[1]) - 1] - ahead[rows, horizon - 1],
            remaining=ahead[rows, horizon - 1],
            remaining_kept=ahead_kept[rows, horizon - 1],
            kept=np.full(len(rows), kept[horizon]),
            pace=paces[rows, place],
        )
        parts.append(standing(finished, totals, rows, days, expected))
        used.append(rows)
    if not parts:
        return None
    every = np.concatenate(used)
    stood = Standing.join(parts)
    return Lessons(stood, finished.net[every] - stood.net, finished.sold_out[every], weight[every])
