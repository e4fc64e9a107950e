"""The forecast of every active concert as of one day, from the pool of all concerts known on that day."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd

from mmt_assets.forecasting import components, outlook, refunds
from mmt_assets.forecasting.blend import Blend, equal_blend, fit_blend
from mmt_assets.forecasting.comparables import Pace, finished_part, pace
from mmt_assets.forecasting.curves import choose_segmentation, curves_frame
from mmt_assets.forecasting.history import WINDOW_DAYS, History, Origin, at_origin, build_history
from mmt_assets.forecasting.inputs import (
    NO_DAY,
    Concerts,
    Floats,
    ForecastInputs,
    ForecastOptions,
    ForecastResult,
    Ints,
    Sales,
    dates,
    epoch_day,
    read_concerts,
    read_sales,
)
from mmt_assets.forecasting.intervals import ErrorPool, no_errors, pool_errors
from mmt_assets.forecasting.replay import Paths, model_paths, replay

Method = Literal["blend", "average", "pooled_prior", "own_sales", "complete", "cancelled"]
"""What made a concert's row: "blend": the models, weighted by their errors on past forecasts; "average": the models
with equal weights, because nothing could be replayed; "pooled_prior": the pooled curve at the prior's level, because a
model failed for this concert; "own_sales": own sales so far on a flat curve, because no concert has finished;
"complete": the show is on the as-of date, what is sold is final; "cancelled": every ticket goes back."""

CONCERTS_PER_CHUNK = 50
# Stock Prophet is too slow to be replayed, so this weight is an assumption, not a measurement.
UNREPLAYED_PROPHET_WEIGHT = 1 / 3
ACTIVE_IN_POOL = 500
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
)


@dataclass(frozen=True)
class _Model:
    """Everything learned from the pool."""

    knowledge: components.Knowledge
    shrinkage: tuple[float, float]
    blend: Blend | None
    errors: ErrorPool
    phi: float
    reason: str


def forecast(
    inputs: ForecastInputs,
    as_of: date,
    *,
    options: ForecastOptions,
    concert_ids: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ForecastResult:
    """Forecast ticket sales of active concerts from what was known at the end of `as_of`.

    A concert's forecast is the same whether it is asked for alone or with all others: the pool that teaches
    the model never depends on `concert_ids`.

    Args:
        inputs: What was known; see `ForecastInputs`.
        as_of: The business day; the first forecast day is the next one.
        options: Engine and limits.
        concert_ids: Concerts to forecast; None means every active one. A cancelled one may be named.
        progress: Called with (concerts done, concerts in all).

    Returns:
        `ticket_sales`: concert_id, sales_date (as_of + 1 to the show), tickets_p10/p50/p90 (net of that day),
        cumulative_tickets_p10/p50/p90 (net), cumulative_gross_tickets_p10/p50/p90.
        `outlook`: one row per concert, columns `OUTLOOK_COLUMNS`. `booking_curves`: see `curves_frame`.
        `final_quantiles`: concert_id, level, tickets: the net total at the 19 levels 0.05 to 0.95.

    Raises:
        ValueError: The frames are malformed, hold a sale after `as_of`, or a named concert cannot be forecast.
    """
    day = epoch_day(as_of)
    concerts = read_concerts(inputs)
    sales = read_sales(inputs, concerts, day)
    targets = _targets(concerts, day, concert_ids)
    pool = _pool(concerts, sales, day, options)
    model = _learn(pool, day, options)
    paths: list[pd.DataFrame] = []
    rows: list[dict[str, object]] = []
    finals: list[pd.DataFrame] = []
    for start in range(0, len(targets), CONCERTS_PER_CHUNK):
        chunk = targets[start : start + CONCERTS_PER_CHUNK]
        frames, chunk_rows, quantiles = _forecast_chunk(concerts, sales, chunk, day, model, pool, options)
        paths += frames
        rows += chunk_rows
        finals.append(quantiles)
        if progress is not None:
            progress(start + len(chunk), len(targets))
    if not paths:
        paths = [outlook.path_frame("", outlook.complete_forecast(0.0, 0.0, np.nan), day)]
    table = pd.DataFrame(rows, columns=list(OUTLOOK_COLUMNS))
    table["sell_out_date"] = pd.to_datetime(table["sell_out_date"]).astype("datetime64[ns]")
    curves = curves_frame(model.knowledge.curves)
    distribution = pd.concat(finals, ignore_index=True) if finals else outlook.quantiles_frame([], [])
    return ForecastResult(pd.concat(paths, ignore_index=True), table, curves, distribution)


def _targets(concerts: Concerts, day: int, concert_ids: Sequence[str] | None) -> Ints:
    """Return the rows to forecast, ordered by show date."""
    ahead = concerts.show >= day
    active = ahead & np.isin(concerts.status.astype(str), ("announced", "on_sale"))
    if concert_ids is None:
        return np.flatnonzero(active)
    allowed = {
        concert: row for row, concert in enumerate(concerts.ids) if ahead[row] and concerts.status[row] != "completed"
    }
    refused = sorted({str(concert) for concert in concert_ids if concert not in allowed})
    if refused:
        raise ValueError(f"concerts not known, without a show date, or finished as of the day: {refused[:5]}")
    return np.array(sorted({allowed[concert] for concert in concert_ids}), dtype=np.int64)


def _pool(concerts: Concerts, sales: Sales, day: int, options: ForecastOptions) -> History:
    """Return the concerts that teach: the newest finished ones and the next active ones, not cancelled."""
    fine = concerts.status.astype(str) != "cancelled"
    finished = np.flatnonzero(fine & (concerts.show < day))[-options.pool_limit :]
    active = np.flatnonzero(fine & (concerts.show >= day))[:ACTIVE_IN_POOL]
    return build_history(concerts, sales, np.concatenate([finished, active]))


def _learn(history: History, day: int, options: ForecastOptions) -> _Model:
    sale_days = components.typical_sale_days(history, day)
    done = finished_part(history, day)
    whole = at_origin(done, day, sale_days)
    segmentation = choose_segmentation(whole, np.flatnonzero(whole.gross > 0))
    knowledge = components.with_trees(components.learn(history, day, *segmentation), history)
    past = replay(history, day, options.origins, segmentation, options.engine)
    phi = components.dispersion(knowledge, history)
    if past is None:
        reason = f"{knowledge.finished_count} finished concerts: too few to calibrate on, wide intervals"
        return _Model(knowledge, components.DEFAULT_SHRINKAGE, None, no_errors(), phi, reason)
    blend = fit_blend(past, day)
    return _Model(
        knowledge, past.shrinkage, blend, pool_errors(past, blend, day), phi, f"{len(past.show)} past forecasts"
    )


def _forecast_chunk(
    concerts: Concerts,
    sales: Sales,
    chunk: Ints,
    day: int,
    model: _Model,
    pool: History,
    options: ForecastOptions,
) -> tuple[list[pd.DataFrame], list[dict[str, object]], pd.DataFrame]:
    history = build_history(concerts, sales, chunk, WINDOW_DAYS)
    origin = at_origin(history, day, model.knowledge.typical_sale_days)
    horizon = max(int(origin.days_to_show.max()), 1)
    paths = model_paths(model.knowledge, origin, horizon, model.shrinkage, options.engine, processes=options.processes)
    mixed = _combine(model, origin, paths)
    compared = _pace(model, origin, pool, day)
    frames, rows, said = [], [], []
    for i in range(len(chunk)):
        one = _one_concert(model, origin, i, mixed, paths.kept)
        said.append(one.final_quantiles)
        if origin.days_to_show[i] > 0:
            frames.append(outlook.path_frame(history.concerts.ids[i], one, day))
        rows.append(_outlook_row(origin, i, one, compared, day))
        rows[-1]["method"], rows[-1]["method_reason"] = _method(origin, i, mixed)
    return frames, rows, outlook.quantiles_frame(list(history.concerts.ids), said)


@dataclass(frozen=True)
class _Mixed:
    """The models' forecasts as one: path (n, horizon), gross remaining and net total (n,), methods and reasons."""

    path: Floats
    remaining: Floats
    final: Floats
    methods: list[Method]
    reasons: list[str]


def _combine(model: _Model, origin: Origin, paths: Paths) -> _Mixed:
    """Weigh the models per concert; a concert for which one failed gets the pooled prior alone."""
    count = len(origin.days_to_show)
    names = tuple(paths.named)
    finite = np.column_stack([np.isfinite(path).all(axis=1) for path in paths.named.values()])
    stacked = np.nan_to_num(np.stack(list(paths.named.values())), nan=0.0, posinf=0.0)
    uninformed = model.knowledge.finished_count == 0
    if uninformed:
        weights = np.tile([float(name == "shrinkage") for name in names], (count, 1))
    elif model.blend is None:
        weights = equal_blend(names).at(origin.days_to_show)
    else:
        weights = _replayed_weights(model.blend, names, origin)
    method: Method = "own_sales" if uninformed else "average" if model.blend is None else "blend"
    methods: list[Method] = [method] * count
    reasons = [f"{_heaviest(names, weights[i])}; {model.reason}" for i in range(count)]
    for i in np.flatnonzero(~finite.all(axis=1)):
        weights[i] = [float(name == "prior") for name in names]
        failed = ", ".join(name for name, fine in zip(names, finite[i], strict=True) if not fine)
        methods[i] = "pooled_prior"
        reasons[i] = f"{failed} failed: {paths.failures.get(int(i), 'no finite forecast')}"
    totals = stacked.sum(axis=2).T
    finals = np.column_stack([refunds.net_path(origin.net, path, paths.kept)[:, 0] for path in stacked])
    path = np.einsum("mnh,nm->nh", stacked, weights)
    return _Mixed(path, (totals * weights).sum(axis=1), (finals * weights).sum(axis=1), methods, reasons)


def _replayed_weights(blend: Blend, names: tuple[str, ...], origin: Origin) -> Floats:
    weights = np.zeros((len(origin.days_to_show), len(names)))
    weights[:, [names.index(name) for name in blend.names]] = blend.at(origin.days_to_show)
    missing = [k for k, name in enumerate(names) if name not in blend.names]
    if missing:
        weights *= 1 - UNREPLAYED_PROPHET_WEIGHT
        weights[:, missing] = UNREPLAYED_PROPHET_WEIGHT
    return weights


def _heaviest(names: tuple[str, ...], weights: Floats) -> str:
    """Return such as "prophet_pooled 41%, shrinkage 33%", heaviest first, without what weighs under half a percent."""
    order = np.argsort(-weights, kind="stable")
    return ", ".join(f"{names[k]} {weights[k]:.0%}" for k in order if weights[k] >= 0.005)  # noqa: PLR2004


def _method(origin: Origin, i: int, mixed: _Mixed) -> tuple[Method, str]:
    if origin.history.concerts.status[i] == "cancelled":
        return "cancelled", "cancelled: every ticket goes back"
    if origin.days_to_show[i] == 0:
        return "complete", "the show is on the as-of date: what is sold is final"
    return mixed.methods[i], mixed.reasons[i]


def _one_concert(model: _Model, origin: Origin, i: int, mixed: _Mixed, kept: Floats) -> outlook.ConcertForecast:
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
        phi=model.phi,
        pool=model.errors,
    )


def _pace(model: _Model, origin: Origin, pool: History, day: int) -> Pace:
    done = finished_part(pool, day)
    ended = at_origin(done, day, model.knowledge.typical_sale_days)
    return pace(origin, _log_expected(model, origin), done, _log_expected(model, ended))


def _log_expected(model: _Model, origin: Origin) -> Floats:
    """Return the log of the final total expected before any sale."""
    days_out = np.arange(max(int(origin.sale_days.max(initial=0)), WINDOW_DAYS) + 1)
    shape = model.knowledge.curves.shape(origin, days_out)
    return model.knowledge.log_level(origin, shape) + np.log(np.maximum(shape.sum(axis=1), 1e-6))


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
