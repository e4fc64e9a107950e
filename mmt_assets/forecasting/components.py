"""The single models: each gives every concert an expected path of gross tickets for the days that remain.

Paths have shape (n, horizon): column b is the day b days before the show, 0 at or beyond the origin.
"""

from dataclasses import dataclass, replace

import numpy as np

from mmt_assets.forecasting.curves import CurveSet, Segmentation, fit_segments
from mmt_assets.forecasting.history import History, Origin, at_origin, select
from mmt_assets.forecasting.inputs import Floats, Ints
from mmt_assets.forecasting.prior import DEFAULT_SELL_THROUGH, LevelPrior, fit_prior
from mmt_assets.forecasting.refunds import RefundRates, fit_refunds
from mmt_assets.forecasting.regression import PickupRegression, fit_regression
from mmt_assets.forecasting.similar import SimilarConcerts, fit_similar
from mmt_assets.forecasting.standing import Shrinkage, lessons, own_pace, standing_now
from mmt_assets.forecasting.trees import BoostedTrees, fit_trees

DEFAULT_SALE_DAYS = 75.0
SHRINKAGE_GRID = tuple((alpha, memory) for alpha in (3.0, 20.0, 100.0) for memory in (0.85, 0.95, 0.99))
DEFAULT_SHRINKAGE = Shrinkage((3.0, 0.95), (3.0, 0.95))
SMALLEST_PATH = 1e-6
"""Tickets ahead below which a path has no shape to scale."""


@dataclass(frozen=True)
class Knowledge:
    """What all concerts together teach as of one day.

    Attributes:
        as_of: The day.
        typical_sale_days: Median length of sale of the finished concerts.
        curves: Booking curves. prior: prior on the level. refunds: refund rates.
        default_log_level: Level used when no concert has finished yet.
        regression: Pick-up regression on the finished concerts.
        shrinkage: How a concert's own pace is judged.
        trees: Boosted trees on the finished concerts; None when too few have finished.
        similar: Comparison with similar finished concerts; None when too few have finished.
        finished_count: Concerts whose outcome was known.
    """

    as_of: int
    typical_sale_days: float
    curves: CurveSet
    prior: LevelPrior
    refunds: RefundRates
    default_log_level: float | None
    regression: PickupRegression | None
    shrinkage: Shrinkage
    trees: BoostedTrees | None
    similar: SimilarConcerts | None
    finished_count: int

    def log_level(self, origin: Origin, shape: Floats) -> Floats:
        """Return the prior log level of each concert, shape (n,)."""
        if self.prior.concerts_count:
            return np.clip(self.prior.log_level(origin), -12.0, 14.0)
        capacity = origin.history.concerts.capacity
        from_capacity = np.log(DEFAULT_SELL_THROUGH * np.where(np.isnan(capacity), 1.0, capacity))
        own = from_capacity - np.log(np.maximum(shape.sum(axis=1), 1.0))
        other = self.default_log_level if self.default_log_level is not None else 0.0
        return np.where(np.isnan(capacity), other, own)


def typical_sale_days(history: History, as_of: int) -> float:
    """Return the median length of sale of the concerts that ended before a day."""
    done = (history.concerts.show < as_of) & (history.start >= 0)
    days = (history.concerts.show - history.start)[done]
    return float(np.median(days)) if len(days) else DEFAULT_SALE_DAYS


def learn(history: History, as_of: int, segmentation: Segmentation, length_bounds: Floats) -> Knowledge:
    """Learn curves, prior, pick-up profile and refund rates from everything known at the end of a day."""
    sale_days = typical_sale_days(history, as_of)
    origin = at_origin(history, as_of, sale_days)
    origin = select(origin, np.flatnonzero(origin.known.any(axis=1)))
    finished = np.flatnonzero(origin.history.concerts.show < as_of)
    curves = fit_segments(origin, segmentation, length_bounds)
    shape = curves.shape(origin, origin.history.days_out)
    sold = np.maximum(origin.history.sold, 0.0) * origin.open
    exposure = (shape * origin.open).sum(axis=1)
    level = np.log((sold.sum(axis=1) + 1.0) / (exposure + 1.0))
    prior = fit_prior(origin, finished, level[finished], as_of)
    started = exposure > 0
    partial = Knowledge(
        as_of=as_of,
        typical_sale_days=sale_days,
        curves=curves,
        prior=prior,
        refunds=fit_refunds(origin),
        default_log_level=float(np.median(level[started])) if started.any() else None,
        regression=None,
        shrinkage=DEFAULT_SHRINKAGE,
        trees=None,
        similar=None,
        finished_count=len(finished),
    )
    if not len(finished):
        return partial
    expected = np.exp(partial.log_level(origin, shape)[finished])[:, None] * shape[finished]
    return replace(partial, regression=fit_regression(select(origin, finished), expected, as_of))


def with_lessons(knowledge: Knowledge, history: History) -> Knowledge:
    """Return the knowledge with trees and similar concerts, learned from what had finished by its day."""
    rows = np.flatnonzero((history.concerts.show < knowledge.as_of) & (history.start >= 0))
    finished = at_origin(history.take(rows), knowledge.as_of, knowledge.typical_sale_days)
    shape = knowledge.curves.shape(finished, finished.history.days_out)
    prior = np.exp(knowledge.log_level(finished, shape))[:, None] * shape
    rates = knowledge.refunds.on(finished.history.days_out)
    learned = lessons(finished, prior, rates, knowledge.shrinkage, knowledge.as_of)
    if learned is None:
        return replace(knowledge, trees=None, similar=None)
    return replace(knowledge, trees=fit_trees(learned), similar=fit_similar(learned))


def prior_path(knowledge: Knowledge, origin: Origin, horizon: int) -> tuple[Floats, Floats, Floats]:
    """Return the prior expectation: remaining path (n, horizon), path so far (n, window + 1), level (n,)."""
    ahead = np.arange(horizon)
    future = knowledge.curves.shape(origin, ahead) * (ahead[None, :] < origin.days_to_show[:, None])
    past = knowledge.curves.shape(origin, origin.history.days_out)
    level = np.exp(knowledge.log_level(origin, past))
    return level[:, None] * future, level[:, None] * past, level


def log_expected_total(knowledge: Knowledge, origin: Origin) -> Floats:
    """Return the log of the final total expected before any sale, shape (n,)."""
    days_out = np.arange(int(origin.sale_days.max(initial=0)) + 1)
    shape = knowledge.curves.shape(origin, days_out)
    return knowledge.log_level(origin, shape) + np.log(np.maximum(shape.sum(axis=1), 1e-6))


def regression_paths(
    knowledge: Knowledge, origin: Origin, prior_future: Floats, prior_past: Floats
) -> tuple[Floats, Floats]:
    """Return the log and the linear pick-up regression, spread over the days as the prior is."""
    if knowledge.regression is None:
        return prior_future, prior_future
    remaining = prior_future.sum(axis=1)
    seen = origin.history.days_out[None, :] >= origin.days_to_show[:, None]
    total = (prior_past * seen).sum(axis=1) + remaining
    scale = 1 / np.maximum(remaining, 1e-9)
    first, second = knowledge.regression.remaining(origin, remaining, total)
    return prior_future * (first * scale)[:, None], prior_future * (second * scale)[:, None]


def learned_paths(
    knowledge: Knowledge, origin: Origin, prior_future: Floats, prior_past: Floats, kept: Floats
) -> dict[str, Floats]:
    """Return the net totals of trees and of similar concerts as paths of gross tickets, spread as the prior is.

    Args:
        knowledge: What was learned; where nothing could be, the prior is returned.
        origin: The concerts; those not on sale yet keep the prior.
        prior_future: Prior path ahead, shape (n, horizon).
        prior_past: Prior path so far, shape (n, window + 1).
        kept: Share of tickets kept to the end of each later day, shape (n, horizon).
    """
    models = {"boosted_trees": knowledge.trees, "similar_concerts": knowledge.similar}
    rates = knowledge.refunds.on(np.arange(prior_future.shape[1]))
    now = standing_now(origin, prior_future, prior_past, rates, knowledge.shrinkage)
    carried = (prior_future / kept).sum(axis=1)
    usable = (origin.age >= 0) & (carried > SMALLEST_PATH)
    paths = {}
    for name, model in models.items():
        if model is None:
            paths[name] = prior_future
            continue
        # The gross sales that, with the concert's refunds, end at the model's net total.
        wanted = np.maximum(origin.net + model.net_change(now), 0.0) / kept[:, 0] - origin.net
        factor = np.maximum(wanted, 0.0) / np.maximum(carried, SMALLEST_PATH)
        paths[name] = prior_future * np.where(usable, factor, 1.0)[:, None]
    return paths


def shrinkage_path(origin: Origin, prior_future: Floats, prior_past: Floats, shrinkage: Shrinkage) -> Floats:
    """Return the Gamma-Poisson model: the prior path ahead at the concert's own pace; see `own_pace`."""
    return prior_future * own_pace(origin, prior_past, shrinkage)[:, None]


def dispersion(knowledge: Knowledge, history: History) -> float:
    """Return phi of a daily variance m + phi m^2 around each finished concert's own scaled curve."""
    origin = at_origin(history, knowledge.as_of, knowledge.typical_sale_days)
    origin = select(origin, _newest_finished(history, knowledge.as_of))
    if not len(origin.days_to_show):
        return 1.0
    shape = knowledge.curves.shape(origin, history.days_out) * origin.open
    sold = np.maximum(origin.history.sold, 0.0) * origin.open
    mean = shape * (sold.sum(axis=1) / np.maximum(shape.sum(axis=1), 1e-9))[:, None]
    excess = ((sold - mean) ** 2 - mean).sum(axis=1) / np.maximum((mean**2).sum(axis=1), 1e-9)
    return float(np.clip(np.median(excess), 0.05, 3.0))


def _newest_finished(history: History, as_of: int) -> Ints:
    return np.flatnonzero((history.concerts.show < as_of) & (history.start >= 0))[-300:]
