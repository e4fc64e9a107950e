"""From what was learned to published rows, a chunk of concerts at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from mmt_assets.forecasting import components, outlook, refunds
from mmt_assets.forecasting.blend import Blend, equal_blend
from mmt_assets.forecasting.comparables import Pace, finished_part, pace
from mmt_assets.forecasting.history import WINDOW_DAYS, History, Origin, at_origin, build_history
from mmt_assets.forecasting.inputs import NO_DAY, Concerts, Floats, ForecastOptions, Ints, Sales, dates
from mmt_assets.forecasting.intervals import ErrorPool
from mmt_assets.forecasting.replay import Paths, model_paths, prior_alone

Method = Literal["blend", "average", "pooled_prior", "own_sales", "complete", "cancelled"]
"""What made a concert's row: "blend": the models, weighted by their errors on past forecasts; "average": the models
with equal weights, because nothing could be replayed; "pooled_prior": the pooled curve at the prior's level, because
models failed for this concert; "own_sales": own sales so far on a flat curve, because no concert has finished;
"complete": the show is on the as-of date, what is sold is final; "cancelled": every ticket goes back."""

# Stock Prophet is too slow to be replayed, so this weight is an assumption, not a measurement.
UNREPLAYED_PROPHET_WEIGHT = 1 / 3
OUTLOOK_COLUMNS = (
    "concert_id",
    "days_to_show",
    "gross_sold",
    "refunded",
    "sold",
    "capacity",
    "sell_through_pct",
    "final_p10",
    "final_p50",
    "final_p90",
    "final_gross_p50",
    "sell_out_probability",
    "sell_out_date",
    "pace_tickets",
    "pace_pct",
    "comparables",
    "demand_fans",
    "status_flag",
    "method",
    "method_reason",
    "champion",
)


@dataclass(frozen=True)
class Learned:
    """Everything learned from the pool."""

    knowledge: components.Knowledge
    blend: Blend | None
    errors: ErrorPool
    phi: float
    reason: str


@dataclass(frozen=True)
class Comparison:
    """Finished concerts that pace is measured against, with the total that each was expected to reach."""

    finished: History
    log_expected: Floats


@dataclass(frozen=True)
class Supposition:
    """What is supposed of all concerts of a task, for a what-if.

    Attributes:
        capacity: Capacity from now on; what was sold so far is judged by the one that it was sold under. None: as is.
        demand_factor: Factor on the tickets that would be bought from now on.
    """

    capacity: float | None = None
    demand_factor: float = 1.0


@dataclass(frozen=True)
class Task:
    """Everything that the forecast of any concert needs, whichever process makes it."""

    concerts: Concerts
    sales: Sales
    day: int
    learned: Learned
    comparison: Comparison
    options: ForecastOptions
    supposed: Supposition = Supposition()


@dataclass(frozen=True)
class Published:
    """Rows of a chunk; `ticket_sales` has rows of `Task.concerts` as `concert`, `outlook` the `OUTLOOK_COLUMNS`.

    Attributes:
        ticket_sales, outlook, final_quantiles: The rows.
        failures: Concerts without any row, and why: not even the prior could be published.
    """

    ticket_sales: pd.DataFrame
    outlook: pd.DataFrame
    final_quantiles: pd.DataFrame
    failures: dict[str, str] = field(default_factory=dict)


def compare_with(learned: Learned, pool: History, day: int) -> Comparison:
    """Prepare the finished concerts of the pool, once for all chunks."""
    finished = finished_part(pool, day)
    ended = at_origin(finished, day, learned.knowledge.typical_sale_days)
    return Comparison(finished, components.log_expected_total(learned.knowledge, ended))


def nothing_published() -> Published:
    """Return the frames of no concert."""
    empty = pd.DataFrame(columns=list(OUTLOOK_COLUMNS))
    return Published(outlook.paths_frame(np.empty(0, np.int64), [], 0), empty, outlook.quantiles_frame([], []))


def forecast_chunk(task: Task, chunk: Ints) -> Published:
    """Forecast the concerts at these rows; one that makes all fail is told apart and gets the prior alone."""
    try:
        return _forecast_together(task, chunk)
    except Exception as error:  # noqa: BLE001 -- whatever one concert does, the others must have their forecast
        said = f"{type(error).__name__}: {error}"
    if len(chunk) > 1:
        return joined([forecast_chunk(task, part) for part in np.array_split(chunk, 2)])
    try:
        return _forecast_together(task, chunk, failure=said)
    except Exception as error:  # noqa: BLE001 -- as above
        why = f"{said}; then with the prior alone {type(error).__name__}: {error}"
        return replace(nothing_published(), failures={str(task.concerts.ids[chunk[0]]): why})


def joined(parts: Sequence[Published]) -> Published:
    """Return the rows of all parts, of none as empty frames."""
    # An empty frame would turn the others' columns into objects.
    filled = [part for part in parts if len(part.outlook)] or [nothing_published()]
    return Published(
        pd.concat([part.ticket_sales for part in filled], ignore_index=True),
        pd.concat([part.outlook for part in filled], ignore_index=True),
        pd.concat([part.final_quantiles for part in filled], ignore_index=True),
        {concert: why for part in parts for concert, why in part.failures.items()},
    )


def _forecast_together(task: Task, chunk: Ints, failure: str | None = None) -> Published:
    """Forecast by all models; by the prior alone where a failure is given."""
    learned, options = task.learned, task.options
    history = build_history(task.concerts, task.sales, chunk, WINDOW_DAYS)
    origin = at_origin(history, task.day, learned.knowledge.typical_sale_days)
    horizon = max(int(origin.days_to_show.max()), 1)
    if failure is None:
        paths = model_paths(learned.knowledge, origin, horizon, options.engine, options.processes)
    else:
        paths = prior_alone(learned.knowledge, origin, horizon, options.engine, failure)
    factor = task.supposed.demand_factor
    paths = replace(paths, named={name: factor * path for name, path in paths.named.items()})
    mixed = _combine(learned, origin, paths)
    compared = pace(
        origin,
        components.log_expected_total(learned.knowledge, origin),
        task.comparison.finished,
        task.comparison.log_expected,
    )
    if task.supposed.capacity is not None:
        concerts = replace(history.concerts, capacity=np.full(len(chunk), task.supposed.capacity))
        origin = replace(origin, history=replace(history, concerts=concerts))
    forecasts = [_one_concert(learned, origin, i, mixed, paths.kept) for i in range(len(chunk))]
    rows = [
        _outlook_row(origin, i, one, compared, task.day)
        | dict(zip(("method", "method_reason", "champion"), said, strict=True))
        for i, one in enumerate(forecasts)
        for said in [_method(origin, i, mixed)]
    ]
    ids = list(history.concerts.ids)
    return Published(
        outlook.paths_frame(chunk, forecasts, task.day),
        pd.DataFrame(rows, columns=list(OUTLOOK_COLUMNS)),
        outlook.quantiles_frame(ids, [one.final_quantiles for one in forecasts]),
    )


@dataclass(frozen=True)
class _Mixed:
    """The models' forecasts as one: path (n, horizon), gross remaining and net total (n,), how, why, heaviest."""

    path: Floats
    remaining: Floats
    final: Floats
    methods: list[Method]
    reasons: list[str]
    champions: list[str | None]


def _combine(learned: Learned, origin: Origin, paths: Paths) -> _Mixed:
    """Weigh the models per concert; a concert for which one failed gets the pooled prior alone."""
    count = len(origin.days_to_show)
    names = tuple(paths.named)
    finite = np.column_stack([np.isfinite(path).all(axis=1) for path in paths.named.values()])
    stacked = np.nan_to_num(np.stack(list(paths.named.values())), nan=0.0, posinf=0.0)
    uninformed = learned.knowledge.finished_count == 0
    if uninformed:
        weights = np.tile([float(name == "shrinkage") for name in names], (count, 1))
    elif learned.blend is None:
        weights = equal_blend(names).at(origin.days_to_show)
    else:
        weights = _replayed_weights(learned.blend, names, origin)
    method: Method = "own_sales" if uninformed else "average" if learned.blend is None else "blend"
    methods: list[Method] = [method] * count
    reasons = [f"{_heaviest(names, weights[i])}; {learned.reason}" for i in range(count)]
    for i in np.flatnonzero(~finite.all(axis=1)):
        weights[i] = [float(name == "prior") for name in names]
        failed = [name for name, fine in zip(names, finite[i], strict=True) if not fine]
        said = "every other model" if len(failed) == len(names) - 1 else ", ".join(failed)
        methods[i] = "pooled_prior"
        reasons[i] = f"{said} failed: {paths.failures.get(int(i), 'no finite forecast')}"
    totals = stacked.sum(axis=2).T
    finals = np.column_stack([refunds.net_path(origin.net, path, paths.kept)[:, 0] for path in stacked])
    path = np.einsum("mnh,nm->nh", stacked, weights)
    champions = [_champion(names, weights[i]) for i in range(count)]
    return _Mixed(path, (totals * weights).sum(axis=1), (finals * weights).sum(axis=1), methods, reasons, champions)


def _replayed_weights(blend: Blend, names: tuple[str, ...], origin: Origin) -> Floats:
    weights = np.zeros((len(origin.days_to_show), len(names)))
    weights[:, [names.index(name) for name in blend.names]] = blend.at(origin.days_to_show)
    missing = [k for k, name in enumerate(names) if name not in blend.names]
    if missing:
        weights *= 1 - UNREPLAYED_PROPHET_WEIGHT
        weights[:, missing] = UNREPLAYED_PROPHET_WEIGHT
    return weights


def _champion(names: tuple[str, ...], weights: Floats) -> str | None:
    """Return the model that weighs most; None where several do."""
    first = np.flatnonzero(weights >= weights.max() - 1e-9)
    return names[first[0]] if len(first) == 1 else None


def _heaviest(names: tuple[str, ...], weights: Floats) -> str:
    """Return such as "prophet_pooled 41%, shrinkage 33%", heaviest first, without what weighs under half a percent."""
    order = np.argsort(-weights, kind="stable")
    return ", ".join(f"{names[k]} {weights[k]:.0%}" for k in order if weights[k] >= 0.005)  # noqa: PLR2004


def _method(origin: Origin, i: int, mixed: _Mixed) -> tuple[Method, str, str | None]:
    """Return what made the row, why, and the single model that weighed most, if any."""
    if origin.history.concerts.status[i] == "cancelled":
        return "cancelled", "cancelled: every ticket goes back", None
    if origin.days_to_show[i] == 0:
        return "complete", "the show is on the as-of date: what is sold is final", None
    return mixed.methods[i], mixed.reasons[i], mixed.champions[i]


def _one_concert(learned: Learned, origin: Origin, i: int, mixed: _Mixed, kept: Floats) -> outlook.ConcertForecast:
    concerts = origin.history.concerts
    days = int(origin.days_to_show[i])
    net, gross, capacity = float(origin.net[i]), float(origin.gross[i]), float(concerts.capacity[i])
    if concerts.status[i] == "cancelled":
        return outlook.cancelled_forecast(days, net, gross, capacity)
    if days == 0:
        return outlook.complete_forecast(net, gross, capacity)
    return outlook.forecast_concert(
        mixed.path[i, :days][::-1],
        kept[i, :days][::-1],
        final=float(mixed.final[i]),
        remaining=float(mixed.remaining[i]),
        net=net,
        gross=gross,
        capacity=capacity,
        phi=learned.phi,
        pool=learned.errors,
    )


def _outlook_row(
    origin: Origin,
    i: int,
    one: outlook.ConcertForecast,
    compared: Pace,
    day: int,
) -> dict[str, object]:
    concerts = origin.history.concerts
    net, capacity, days = float(origin.net[i]), float(concerts.capacity[i]), int(origin.days_to_show[i])
    pace_tickets, pace_pct = (float(values[i]) for values in compared.ahead(origin.net))
    sold_out_on = outlook.sell_out_day(one, capacity, day, net)
    recent = origin.history.sold[i, days : days + outlook.STALLED_DAYS].sum()
    flag = outlook.status_flag(
        age=int(origin.age[i]),
        recent=float(recent),
        recent_expected=float(one.final_gross_p50 - origin.gross[i]) / max(days, 1) * outlook.STALLED_DAYS,
        pace_pct=pace_pct,
        net=net,
        capacity=capacity,
        chance=one.sell_out_probability,
    )
    if concerts.status[i] == "cancelled":
        flag, sold_out_on = "cancelled", None
    return {
        "concert_id": concerts.ids[i],
        "days_to_show": days,
        "gross_sold": int(origin.gross[i]),
        "refunded": int(origin.refunded[i]),
        "sold": int(net),
        "capacity": capacity,
        "sell_through_pct": 100 * net / capacity,
        "final_p10": one.final[0],
        "final_p50": one.final[1],
        "final_p90": one.final[2],
        "final_gross_p50": one.final_gross_p50,
        "sell_out_probability": one.sell_out_probability,
        "sell_out_date": dates([NO_DAY if sold_out_on is None else sold_out_on])[0],
        "pace_tickets": pace_tickets,
        "pace_pct": pace_pct,
        "comparables": compared.names[i],
        "demand_fans": float(concerts.demand[i]),
        "status_flag": flag,
    }
