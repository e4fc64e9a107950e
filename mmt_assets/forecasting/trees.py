"""Gradient-boosted trees: what finished concerts still sold or lost, learned from how they stood at many days to show.

Two models with absolute error as their loss (Friedman 2001; XGBoost, Chen & Guestrin 2016), averaged: one of the
change of net tickets from the concert's own state, one of what its own pace leaves over. The first follows
the data where the pooled curve fits badly, the second keeps the level where concerts of that kind are few.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmt_assets.forecasting.inputs import Floats, Ints
from mmt_assets.forecasting.standing import HORIZON_GRID, Lessons, Standing

if TYPE_CHECKING:
    from xgboost import Booster

ROUNDS = 60
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
    """The two fitted models; `change` of the net tickets as such, `beyond` what is left of it after the own pace.

    Both count in `spread`, the mean absolute change beyond the own pace per horizon of the grid: without it the
    last days, on which little moves, would be learned last.
    """

    change: "Booster"
    beyond: "Booster"
    spread: Floats

    def net_change(self, now: Standing) -> Floats:
        """Return the expected change of net tickets until the show, shape (n,)."""
        from xgboost import DMatrix  # noqa: PLC0415 -- a third of a second, and only fits need it

        data, unit = DMatrix(_features(now)), _at(self.spread, now.days_to_show)
        said = self.change.predict(data) * unit, now.pace_change + self.beyond.predict(data) * unit
        return np.asarray(said[0] + said[1], dtype=np.float64) / 2


def fit_trees(learned: Lessons) -> BoostedTrees:
    """Fit both models."""
    from xgboost import DMatrix, train  # noqa: PLC0415 -- as above

    then, wanted = learned.standing, learned.wanted
    beyond = wanted - then.pace_change
    spread = _spread(then.days_to_show, np.abs(beyond), learned.weight)
    unit = _at(spread, then.days_to_show)
    features, weight = _features(then), learned.weight / learned.weight.mean()
    first, second = (
        train(PARAMETERS, DMatrix(features, label / unit, weight=weight), ROUNDS) for label in (wanted, beyond)
    )
    return BoostedTrees(first, second, spread)


def _spread(days_to_show: Ints, distance: Floats, weight: Floats) -> Floats:
    """Return the mean distance per horizon of the grid; the nearest one's where none was seen."""
    seen = [days for days in HORIZON_GRID if (days_to_show == days).any()]
    means = [np.average(distance[days_to_show == days], weights=weight[days_to_show == days]) for days in seen]
    return np.maximum(np.interp(np.log1p(HORIZON_GRID), np.log1p(seen), means), 1e-3)


def _at(spread: Floats, days_to_show: Ints) -> Floats:
    return np.interp(np.log1p(days_to_show), np.log1p(HORIZON_GRID), spread)


def _features(some: Standing) -> Floats:
    """Return one row per concert; unknown capacity and demand stay NaN, which the trees take as a value."""
    angle = 2 * np.pi * some.show / 365.25
    columns = [
        some.days_to_show,
        some.age,
        some.net,
        some.gross,
        some.last_three_days,
        some.last_week,
        some.last_four_weeks,
        some.capacity,
        some.demand,
        (some.show + 3) % 7,
        np.sin(angle),
        np.cos(angle),
        some.prior_change,
        some.prior_total,
        np.log((np.maximum(some.gross, 0.0) + 5) / (some.prior_so_far + 5)),
        some.last_day,
        some.last_two_weeks,
        some.last_sixty_days,
        some.net / some.capacity,
        some.refunded / np.maximum(some.gross, 1.0),
        some.last_week / np.maximum(some.last_four_weeks, 1.0),
        some.prior_remaining * (np.maximum(some.gross, 0.0) + 10) / (some.prior_so_far + 10),
        some.pace_change,
        some.prior_remaining * (np.maximum(some.last_week, 0.0) + 3) / (some.prior_last_week + 3),
    ]
    return np.column_stack(columns).astype(np.float64)
