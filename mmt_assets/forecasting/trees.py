"""Gradient-boosted trees: what finished concerts still sold or lost, learned from how they stood at many days to show.

Two models with absolute error as their loss (Friedman 2001; XGBoost, Chen & Guestrin 2016), averaged: one of the
change of net tickets from the concert's own state, one of what the prior expectation leaves over. The first follows
the data where the pooled curve fits badly, the second keeps the level where concerts of that kind are few.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmt_assets.forecasting.booking_state import BookingState, RunningTotals
from mmt_assets.forecasting.history import Origin, select
from mmt_assets.forecasting.inputs import Floats, Ints

if TYPE_CHECKING:
    from xgboost import Booster

HORIZON_GRID = (1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 75, 100, 150)
HALF_LIFE_DAYS = 365.0
MIN_CONCERTS = 60
MAX_CONCERTS = 800
"""Newest finished concerts that are learned from: more hardly helped and cost time on every replayed day."""
ROUNDS = 60
SMALLEST_SIZE = 20.0
"""Tickets added to a concert's size in the weights, so that a nearly empty one does not count without bound."""
PARAMETERS = {
    "objective": "reg:absoluteerror",
    "eta": 0.1,
    "max_leaves": 15,
    "max_depth": 0,
    "grow_policy": "lossguide",
    "tree_method": "hist",
    "max_bin": 64,
    "min_child_weight": 20,
    "nthread": 1,
    "subsample": 0.7,
    "colsample_bynode": 0.7,
    "seed": 0,
}


@dataclass(frozen=True)
class BoostedTrees:
    """The two fitted models; `change` of the net tickets as such, `beyond` what is left of it after the prior."""

    change: "Booster"
    beyond: "Booster"

    def net_change(self, origin: Origin, prior_future: Floats, refund_rates: Floats, prior_total: Floats) -> Floats:
        """Return the expected change of net tickets from the origin to the show, shape (n,).

        Args:
            origin: The concerts.
            prior_future: Prior path ahead, shape (n, horizon).
            refund_rates: Share of tickets returned per day to show, shape (horizon,).
            prior_total: Gross total that the prior expects, shape (n,).
        """
        from xgboost import DMatrix  # noqa: PLC0415 -- a third of a second, and only fits need it

        state = RunningTotals.of(origin.history).state(np.arange(len(origin.days_to_show)), origin.days_to_show)
        kept = _kept(refund_rates)
        bought = prior_future @ kept[:-1]
        prior_change = bought - (1 - kept[origin.days_to_show]) * state.net
        features = _features(origin, state, origin.days_to_show, origin.age, prior_change, prior_total)
        data = DMatrix(features)
        return (self.change.predict(data) + prior_change + self.beyond.predict(data)).astype(np.float64) / 2


def fit_trees(finished: Origin, prior_path: Floats, refund_rates: Floats, as_of: int) -> BoostedTrees | None:
    """Fit both models; None when fewer than `MIN_CONCERTS` have finished.

    A sell-out hides demand: there the target is what was seen or what the prior expected, whichever is more.

    Args:
        finished: n finished concerts, complete, ordered by show.
        prior_path: Prior tickets per day to show of each, shape (n, window + 1).
        refund_rates: Share of tickets returned per day to show, shape (window + 1,).
        as_of: The day; weights halve every `HALF_LIFE_DAYS` before it.
    """
    if len(finished.days_to_show) < MIN_CONCERTS:
        return None
    from xgboost import DMatrix, train  # noqa: PLC0415 -- as above

    newest = np.arange(max(len(finished.days_to_show) - MAX_CONCERTS, 0), len(finished.days_to_show))
    finished, prior_path = select(finished, newest), prior_path[newest]
    kept = _kept(refund_rates)
    bought, prior_total = np.cumsum(prior_path * kept[:-1], axis=1), prior_path.sum(axis=1)
    features, targets, expected, weights = [], [], [], []
    recent = 0.5 ** ((as_of - finished.history.concerts.show) / HALF_LIFE_DAYS)
    weight = recent / np.sqrt(np.maximum(finished.gross, 0.0) + SMALLEST_SIZE)
    totals = RunningTotals.of(finished.history)
    for horizon in HORIZON_GRID:
        rows = np.flatnonzero((finished.sale_days >= horizon) & (horizon < prior_path.shape[1]))
        if not len(rows):
            continue
        some, days = select(finished, rows), np.full(len(rows), horizon)
        state = totals.state(rows, days)
        prior = bought[rows, horizon - 1] - (1 - kept[horizon]) * state.net
        seen = some.net - state.net
        features.append(_features(some, state, days, some.sale_days - horizon, prior, prior_total[rows]))
        targets.append(np.where(some.sold_out, np.maximum(seen, prior), seen))
        expected.append(prior)
        weights.append(weight[rows])
    if not features:
        return None
    matrix, target, prior = np.concatenate(features), np.concatenate(targets), np.concatenate(expected)
    weight = np.concatenate(weights)
    change, beyond = (
        train(PARAMETERS, DMatrix(matrix, label, weight=weight / weight.mean()), ROUNDS)
        for label in (target, target - prior)
    )
    return BoostedTrees(change, beyond)


def _kept(refund_rates: Floats) -> Floats:
    """Return the share of tickets that are still held at the show, by days to show, one entry longer than the rates."""
    return np.concatenate([[1.0], np.cumprod(1.0 - refund_rates)])


def _features(
    origin: Origin, state: BookingState, days_to_show: Ints, age: Ints, prior_change: Floats, prior_total: Floats
) -> Floats:
    """Return one row per concert; unknown capacity and demand stay NaN, which the trees take as a value."""
    concerts = origin.history.concerts
    angle = 2 * np.pi * concerts.show / 365.25
    columns = [
        days_to_show,
        age,
        state.net,
        state.gross,
        state.last_three,
        state.last_week,
        state.last_four_weeks,
        concerts.capacity,
        concerts.demand,
        (concerts.show + 3) % 7,
        np.sin(angle),
        np.cos(angle),
        prior_change,
        prior_total,
    ]
    return np.column_stack(columns).astype(np.float64)
