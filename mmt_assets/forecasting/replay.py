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
LESSONS = 4
OFFSET = 2.0
"""Tickets added before logs: `log(tickets + 2)` stays sane for nearly empty remainders."""

Moment = tuple[int, components.Knowledge, Origin, Origin]
"""A past day, what was known on it, the concerts to forecast then, and how they ended."""


@dataclass(frozen=True)
class Replay:
    """Forecasts of r (concert, past day) pairs whose concert has finished.

    Attributes:
        names: The single models. remaining: gross tickets from then to the show as each said, shape (r, models).
        finals: Net tickets at the show as each said, the capacity left out of account, shape (r, models).
        as_of, show, days_to_show, age: integer days. net, gross: as of that day.
        actual: Gross tickets sold from then to the show. sold_out: whether the concert sold out.
        actual_final: Net tickets at the show.
        half_error: Log error to the middle of the remaining days, level errors removed.
    """

    names: tuple[str, ...]
    remaining: Floats
    finals: Floats
    as_of: Ints
    show: Ints
    days_to_show: Ints
    age: Ints
    net: Floats
    gross: Floats
    actual: Floats
    sold_out: Floats
    actual_final: Floats
    half_error: Floats
    shrinkage: tuple[float, float]


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
        "shrinkage": components.shrinkage_path(origin, future, past, *knowledge.shrinkage),
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
        if (moment := _targets(history, day, as_of, segmentation)) is not None
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
    history: History, day: int, as_of: int, segmentation: tuple[Segmentation, Floats]
) -> tuple[components.Knowledge, Origin, Origin] | None:
    """Return what was known on a day, the concerts to forecast then, and how they ended."""
    show = history.concerts.show
    rows = np.flatnonzero((show > day) & (show < as_of) & (history.start >= 0))
    if not len(rows):
        return None
    knowledge = components.learn(history, day, *segmentation)
    some = history.take(rows)
    origin = at_origin(some, day, knowledge.typical_sale_days)
    # Concerts not on sale for long yet would have been announced: keep those a sale's length ahead.
    usable = np.flatnonzero(~origin.sold_out & (origin.age > -knowledge.typical_sale_days / 2))
    if not len(usable):
        return None
    usable = usable[:: -(-len(usable) // MAX_ROWS_PER_ORIGIN)]
    return knowledge, select(origin, usable), at_origin(some.take(usable), as_of, knowledge.typical_sale_days)


def _with_lessons(moments: list[Moment], shrinkage: tuple[float, float], history: History) -> list[Moment]:
    """Add trees and similar concerts to what was known, learned anew a few times only: they are the dearest to learn.

    Args:
        moments: Oldest first.
        shrinkage: alpha and memory of a concert's own pace.
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


def _choose_shrinkage(
    moments: list[Moment],
) -> tuple[float, float]:
    """Return the shrinkage with the smallest mean absolute log error over all replayed rows."""
    loss = dict.fromkeys(components.SHRINKAGE_GRID, 0.0)
    for _, knowledge, origin, ended in moments:
        future, past, _ = components.prior_path(knowledge, origin, int(origin.days_to_show.max()))
        actual = np.log(ended.gross - origin.gross + OFFSET)
        for setting in loss:
            path = components.shrinkage_path(origin, future, past, *setting)
            error = np.log(path.sum(axis=1) + OFFSET) - actual
            loss[setting] += float(np.abs(np.where(ended.sold_out, np.minimum(error, 0), error)).sum())
    return min(loss, key=lambda setting: loss[setting])


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
        "as_of": np.full(len(actual), day),
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
