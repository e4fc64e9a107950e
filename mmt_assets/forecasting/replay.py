"""Replay of past as-of days: what each single model would have said then, beside what happened.

Everything that is chosen or calibrated (shrinkage, blend, champion, intervals) is chosen on these rows.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmt_assets.forecasting import components, refunds
from mmt_assets.forecasting.curves import Segmentation
from mmt_assets.forecasting.history import History, Origin, at_origin, select
from mmt_assets.forecasting.inputs import Engine, Floats, Ints
from mmt_assets.forecasting.prophet_component import prophet_path
from mmt_assets.forecasting.standing import Shrinkage

MIN_ORIGIN_GAP_DAYS = 7
MAX_REPLAY_DAYS = 400
MIN_FINISHED = 20
MODELS = (
    "prior",
    "shrinkage",
    "pickup_regression_log",
    "pickup_regression_linear",
    "boosted_trees",
    "similar_concerts",
)
PROPHET = "prophet_pooled"
MAX_ROWS_PER_ORIGIN = 150
SHORT_LEADS = (1, 2, 4, 7)
"""Days before the show at which each concert is forecast once more, by what was known on the last past day before: the
past days alone would meet few concerts so near their show."""
NEAR_SHOW_DAYS = 14
"""Forecasts up to so many days before the show choose the setting of the own pace near it, others that far from it."""
NEAR_GAIN = 0.03
"""Share of the error that a setting of its own must save near the show to be used there."""
LESSONS = 4
OFFSET = 2.0
"""Tickets added before logs: `log(tickets + 2)` stays sane for nearly empty remainders."""

Moment = tuple[int, components.Knowledge, Origin, Origin]
"""A past day, what was known on it, the concerts to forecast then or soon after, and how they ended."""


@dataclass(frozen=True)
class Replay:
    """Forecasts of r (concert, past day) pairs whose concert has finished.

    Attributes:
        names: The single models. remaining: gross tickets from then to the show as each said, shape (r, models).
        finals: Net tickets at the show as each said, the capacity left out of account, shape (r, models).
        learned_on: Day of the knowledge that they were made with, the as-of day or soon before it.
        show, days_to_show, age: integer days. net, gross: as of that day.
        actual: Gross tickets sold from then to the show. sold_out: whether the concert sold out.
        actual_final: Net tickets at the show.
        half_error: Log error to the middle of the remaining days, level errors removed.
    """

    names: tuple[str, ...]
    remaining: Floats
    finals: Floats
    learned_on: Ints
    show: Ints
    days_to_show: Ints
    age: Ints
    net: Floats
    gross: Floats
    actual: Floats
    sold_out: Floats
    actual_final: Floats
    half_error: Floats
    shrinkage: Shrinkage


@dataclass(frozen=True)
class Paths:
    """Paths of the single models for n concerts, each of shape (n, horizon)."""

    named: dict[str, Floats]
    kept: Floats
    failures: dict[int, str]


def model_paths(
    knowledge: components.Knowledge,
    origin: Origin,
    horizon: int,
    engine: Engine,
    processes: int = 1,
) -> Paths:
    """Return the remaining path of every single model."""
    future, past, _ = components.prior_path(knowledge, origin, horizon)
    factor = refunds.own_rate_factor(knowledge.refunds, origin)
    kept = refunds.survival(knowledge.refunds, factor, origin.days_to_show, horizon)
    logs, tickets = components.regression_paths(knowledge, origin, future, past)
    named = {
        "prior": future,
        "shrinkage": components.shrinkage_path(origin, future, past, knowledge.shrinkage),
        "pickup_regression_log": logs,
        "pickup_regression_linear": tickets,
        **components.learned_paths(knowledge, origin, future, past, kept),
    }
    failures: dict[int, str] = {}
    if engine != "none":
        named[PROPHET], failures = prophet_path(origin, future, past, engine, processes=processes)
    return Paths(named, kept, failures)


def prior_alone(knowledge: components.Knowledge, origin: Origin, horizon: int, engine: Engine, failure: str) -> Paths:
    """Return the prior's path, and NaN for every other model, with the reason why they are not asked."""
    future, _, _ = components.prior_path(knowledge, origin, horizon)
    factor = refunds.own_rate_factor(knowledge.refunds, origin)
    names = MODELS if engine == "none" else (*MODELS, PROPHET)
    named = {name: future if name == "prior" else np.full_like(future, np.nan) for name in names}
    kept = refunds.survival(knowledge.refunds, factor, origin.days_to_show, horizon)
    return Paths(named, kept, dict.fromkeys(range(len(future)), failure))


def replay(
    history: History,
    as_of: int,
    origins: int,
    segmentation: tuple[Segmentation, Floats],
    engine: Engine,
) -> Replay | None:
    """Forecast finished concerts as of past days; None when too few concerts have finished.

    Stock Prophet is too slow for this: with engine "stan" its column is left out.
    """
    engine = "none" if engine == "stan" else engine
    shows = history.concerts.show
    finished = np.sort(shows[(shows < as_of) & (history.start >= 0)])
    if len(finished) < 2 * MIN_FINISHED:
        return None
    earliest = max(int(finished[MIN_FINISHED]), as_of - MAX_REPLAY_DAYS)
    gap = max(MIN_ORIGIN_GAP_DAYS, -(-(as_of - earliest) // origins))
    moments = [
        (day, *moment)
        for day in range(as_of - gap, earliest - 1, -gap)
        if (moment := _targets(history, day, gap, as_of, segmentation)) is not None
    ]
    if not moments:
        return None
    moments.reverse()
    shrinkage = _choose_shrinkage(moments)
    moments = _with_lessons(moments, shrinkage, history)
    names = MODELS if engine == "none" else (*MODELS, PROPHET)
    parts = [_forecast_rows(*moment, engine) for moment in moments]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Replay(names=names, shrinkage=shrinkage, **joined)


def _targets(
    history: History, day: int, gap: int, as_of: int, segmentation: tuple[Segmentation, Floats]
) -> tuple[components.Knowledge, Origin, Origin] | None:
    """Return what was known on a day, the concerts to forecast then or until the next past day, and how they ended."""
    show = history.concerts.show
    rows = np.flatnonzero((show > day) & (show < as_of) & (history.start >= 0))
    if not len(rows):
        return None
    knowledge = components.learn(history, day, *segmentation)
    some, sale_days = history.take(rows), knowledge.typical_sale_days
    origin = at_origin(some, day, sale_days)
    # Concerts not on sale for long yet would have been announced: keep those a sale's length ahead.
    usable = np.flatnonzero(~origin.sold_out & (origin.age > -sale_days / 2))
    if not len(usable):
        return None
    usable = usable[:: -(-len(usable) // MAX_ROWS_PER_ORIGIN)]
    soon, soon_days = _near_their_show(some, day, gap)
    again = np.concatenate([usable, soon])
    days = np.concatenate([np.full(len(usable), day), soon_days])
    origin = at_origin(some.take(again), days, sale_days)
    unsold = np.flatnonzero(~origin.sold_out)
    return knowledge, select(origin, unsold), at_origin(some.take(again[unsold]), as_of, sale_days)


def _near_their_show(history: History, day: int, gap: int) -> tuple[Ints, Ints]:
    """Return rows of shows within `gap` days after a day, each with days between the two, `SHORT_LEADS` before it."""
    soon = np.flatnonzero(history.concerts.show <= day + gap)
    soon = soon[:: max(-(-len(soon) * len(SHORT_LEADS) // MAX_ROWS_PER_ORIGIN), 1)]
    rows = np.repeat(soon, len(SHORT_LEADS))
    days = history.concerts.show[rows] - np.tile(SHORT_LEADS, len(soon))
    return rows[days > day], days[days > day]


def _with_lessons(moments: list[Moment], shrinkage: Shrinkage, history: History) -> list[Moment]:
    """Add trees and similar concerts to what was known, learned anew a few times only: they are the dearest to learn.

    Args:
        moments: Oldest first.
        shrinkage: How a concert's own pace is judged.
        history: The concerts that teach.
    """
    every = -(-len(moments) // LESSONS)
    result: list[Moment] = []
    latest: components.Knowledge | None = None
    for i, (day, known, origin, ended) in enumerate(moments):
        knowledge = replace(known, shrinkage=shrinkage)
        if i % every == 0 or latest is None:
            latest = components.with_lessons(knowledge, history)
        result.append((day, replace(knowledge, trees=latest.trees, similar=latest.similar), origin, ended))
    return result


def _choose_shrinkage(moments: list[Moment]) -> Shrinkage:
    """Return the settings with the smallest mean absolute log error, near the show and far from it."""
    near, far = (dict.fromkeys(components.SHRINKAGE_GRID, 0.0) for _ in range(2))
    for day, knowledge, origin, ended in moments:
        future, past, _ = components.prior_path(knowledge, origin, int(origin.days_to_show.max()))
        actual = np.log(ended.gross - origin.gross + OFFSET)
        is_near = origin.days_to_show <= NEAR_SHOW_DAYS
        on_day = origin.history.concerts.show - origin.days_to_show == day
        for setting in components.SHRINKAGE_GRID:
            path = components.shrinkage_path(origin, future, past, Shrinkage(setting, setting))
            error = np.log(path.sum(axis=1) + OFFSET) - actual
            missed = np.abs(np.where(ended.sold_out, np.minimum(error, 0), error))
            near[setting] += float(missed[is_near].sum())
            far[setting] += float(missed[on_day & ~is_near].sum())
    nearest, farthest = (min(loss, key=lambda setting: loss[setting]) for loss in (near, far))
    if not any(far.values()):
        return Shrinkage(nearest, nearest)
    return Shrinkage(nearest if near[nearest] < (1 - NEAR_GAIN) * near[farthest] else farthest, farthest)


def _forecast_rows(
    day: int,
    knowledge: components.Knowledge,
    origin: Origin,
    ended: Origin,
    engine: Engine,
) -> dict[str, Any]:
    horizon = int(origin.days_to_show.max())
    paths = model_paths(knowledge, origin, horizon, engine)
    named = {name: np.nan_to_num(path) for name, path in paths.named.items()}
    actual = np.maximum(ended.gross - origin.gross, 0.0)
    central = named["shrinkage"]
    window = min(horizon, ended.history.sold.shape[1])
    ahead = np.arange(horizon)[None, :] < origin.days_to_show[:, None]
    late = np.arange(horizon)[None, :] >= (origin.days_to_show // 2)[:, None]
    seen = (ended.history.sold[:, :window] * (late & ahead)[:, :window]).sum(axis=1)
    said = (central * late).sum(axis=1) * (actual + OFFSET) / (central.sum(axis=1) + OFFSET)
    return {
        "remaining": np.column_stack([path.sum(axis=1) for path in named.values()]),
        "finals": np.column_stack([refunds.net_path(origin.net, path, paths.kept)[:, 0] for path in named.values()]),
        "learned_on": np.full(len(actual), day),
        "show": origin.history.concerts.show,
        "days_to_show": origin.days_to_show,
        "age": origin.age,
        "net": origin.net,
        "gross": origin.gross,
        "actual": actual,
        "sold_out": ended.sold_out.astype(np.float64),
        "actual_final": ended.net,
        "half_error": np.log(seen + OFFSET) - np.log(said + OFFSET),
    }
