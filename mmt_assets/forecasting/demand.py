"""Fans' demand ahead: makes per artist, country and city in the next weeks, from the makes so far.

Three models of the expected makes per day: Prophet with flat growth and Prophet with linear growth, both fitted to
the last `FITTED_DAYS` days with a week's seasonality, and the recent level (exponential smoothing). Which one speaks
is chosen per horizon by its errors on past days (the champion), and its past errors, weighted towards places of the
same size, are the interval: the same conformal scenarios as for concerts.
"""

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmt_assets.forecasting.inputs import Floats, Ints, dates, epoch_day, epoch_days
from mmt_assets.forecasting.intervals import ErrorPool, no_errors, quantiles, scenarios

if TYPE_CHECKING:
    from mmt_assets.forecasting.prophet_map.specification import Growth

PLACE = ["artist", "country", "city"]
HORIZONS = (7, 14, 28, 56, 84)
"""Days ahead that are forecast."""
FITTED_DAYS = 120
HALF_LIFE_DAYS = 21.0
REPLAY_GAP_DAYS = 14
REPLAYS = 8
MAX_REPLAYED = 600
"""Places per replayed day: more only make the same errors more exact."""
MIN_ERRORS = 60
MODELS = ("prophet_flat", "prophet_linear", "recent_level")
NO_REPLAY = "recent_level"
LEVELS = (0.1, 0.5, 0.9)
OFFSET = 2.0
FAN_SHARE_STRENGTH = 20.0
"""Makes of evidence that the share of new fans everywhere is worth."""
SIZE_STEP = 0.25
"""Sizes are rounded to this on the log scale: places of like size share their scenarios."""
COLUMNS = (
    *PLACE,
    "demand_date",
    "days_ahead",
    "makes_so_far",
    "fans_so_far",
    *(f"{what}_p{round(100 * level)}" for what in ("makes", "fans") for level in LEVELS),
    "method",
    "method_reason",
)


@dataclass(frozen=True)
class _Counts:
    """Daily makes of n places: `makes[:, -1]` is the last day. first: columns before it are before the first make."""

    makes: Floats
    first: Ints

    def until(self, days_back: int) -> "_Counts":
        return _Counts(self.makes[:, : self.makes.shape[1] - days_back], self.first)

    def take(self, rows: Ints) -> "_Counts":
        return _Counts(self.makes[rows], self.first[rows])


def forecast_demand(demand: pd.DataFrame, as_of: date) -> pd.DataFrame:
    """Forecast the makes of every place that ever had one.

    Args:
        demand: artist, country, city, demand_date, makes_count, new_fans_count, until `as_of`; days without a row
            had no make.
        as_of: The business day; nothing after its end may be in `demand`.

    Returns:
        One row per place and horizon, columns `COLUMNS`. makes_*: makes from the day after `as_of` to `demand_date`
        together, quantiles. fans_*: fans by the end of `demand_date`, those so far included.

    Raises:
        ValueError: `demand` holds a later day.
    """
    day = epoch_day(as_of)
    if demand.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    days = epoch_days(demand["demand_date"])
    if days.max() > day:
        raise ValueError(f"demand holds {dates([days.max()])[0]}, which lies after the as-of date {as_of}")
    code, places = pd.factorize(pd.MultiIndex.from_frame(demand[PLACE]), sort=True)
    counts = _count(np.asarray(code), days, demand["makes_count"].to_numpy(dtype=np.float64), len(places), day)
    said = _expected(counts)
    past = _replay(counts)
    totals = demand.groupby(np.asarray(code))[["makes_count", "new_fans_count"]].sum().to_numpy(dtype=np.float64)
    everywhere = totals[:, 1].sum() / max(totals[:, 0].sum(), 1.0)
    share = (totals[:, 1] + FAN_SHARE_STRENGTH * everywhere) / (totals[:, 0] + FAN_SHARE_STRENGTH)
    frames = []
    for horizon in HORIZONS:
        model, pool, reason = _champion(past.get(horizon), horizon)
        makes = _quantiles(said[model][:, :horizon].sum(axis=1), pool, horizon)
        frame = pd.DataFrame(list(places), columns=PLACE)
        frame["demand_date"] = dates(np.full(len(places), day + horizon))
        frame["days_ahead"] = horizon
        frame["makes_so_far"], frame["fans_so_far"] = totals[:, 0], totals[:, 1]
        for k, level in enumerate(LEVELS):
            frame[f"makes_p{round(100 * level)}"] = makes[:, k]
            frame[f"fans_p{round(100 * level)}"] = totals[:, 1] + share * makes[:, k]
        frames.append(frame.assign(method=model, method_reason=reason))
    return pd.concat(frames, ignore_index=True)[list(COLUMNS)]


def _count(code: Ints, days: Ints, makes: Floats, places: int, day: int) -> _Counts:
    """Spread the makes over days; what lies before the longest past that is used goes into no cell."""
    window = FITTED_DAYS + REPLAYS * REPLAY_GAP_DAYS + max(HORIZONS)
    column = days - (day - window + 1)
    inside = column >= 0
    cells = np.bincount(code[inside] * window + column[inside], makes[inside], places * window)
    first = np.full(places, window)
    np.minimum.at(first, code, np.maximum(column, 0))
    return _Counts(cells.reshape(places, window).astype(np.float64), first)


def _expected(counts: _Counts) -> dict[str, Floats]:
    """Return the expected makes per day ahead by each model, shape (n, max horizon), columns from the next day on."""
    ahead, length = max(HORIZONS), min(FITTED_DAYS, counts.makes.shape[1])
    recent = counts.makes[:, -length:]
    age = np.arange(length)[::-1]
    # Days before the first make tell nothing of the level since.
    seen = (counts.makes.shape[1] - counts.first)[:, None] > age[None, :]
    weight = 0.5 ** (age / HALF_LIFE_DAYS) * seen
    level = (weight * recent).sum(axis=1) / np.maximum(weight.sum(axis=1), 1.0)
    result: dict[str, Floats] = {"recent_level": np.tile(level[:, None], ahead)}
    for growth in ("flat", "linear"):
        result[f"prophet_{growth}"] = _prophet(recent, seen, growth, ahead)
    return result


def _prophet(recent: Floats, seen: Floats, growth: "Growth", ahead: int) -> Floats:
    # Brings numba along, as in `engines`.
    from mmt_assets.forecasting.prophet_map import (  # noqa: PLC0415
        ProphetSpec,
        Seasonality,
        SeriesBatch,
        fit,
        predict,
    )

    length = recent.shape[1]
    rows = np.maximum(seen.sum(axis=1), 1).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(rows)])
    used = np.arange(length)[None, :] >= length - rows[:, None]
    days = np.tile(np.arange(length), (len(recent), 1))[used]
    spec = ProphetSpec(growth, seasonalities=(Seasonality("weekly", 7, 3, 0.1),))
    fitted = fit(spec, SeriesBatch(offsets, days, recent[used]))
    later = np.arange(len(recent) + 1) * ahead
    future = np.tile(length + np.arange(ahead), len(recent))
    said = predict(fitted, SeriesBatch(later, future), (0.1, 0.9)).mean.reshape(len(recent), ahead)
    # A trend may not run away: at most twice the busiest day that was seen.
    top = 2 * recent.max(axis=1, initial=0.0)
    return np.clip(np.nan_to_num(said), 0.0, top[:, None])


@dataclass(frozen=True)
class _Past:
    """Past forecasts of one horizon: what each model said, what came, and how many days ago it was known."""

    said: dict[str, Floats]
    actual: Floats
    days_ago: Ints


def _replay(counts: _Counts) -> dict[int, _Past]:
    """Forecast past days with what was known then, per horizon whose outcome is known."""
    parts: dict[int, list[tuple[dict[str, Floats], Floats, Ints]]] = {horizon: [] for horizon in HORIZONS}
    window = counts.makes.shape[1]
    backs = sorted({horizon + k * REPLAY_GAP_DAYS for k in range(REPLAYS) for horizon in HORIZONS[:1]} | {*HORIZONS})
    for back in backs:
        known = np.flatnonzero(counts.first < window - back)
        known = known[:: max(-(-len(known) // MAX_REPLAYED), 1)]
        if not len(known):
            continue
        said = _expected(counts.take(known).until(back))
        for horizon in HORIZONS:
            if horizon <= back:
                begin = window - back
                actual = counts.makes[known, begin : begin + horizon].sum(axis=1)
                totals = {name: path[:, :horizon].sum(axis=1) for name, path in said.items()}
                parts[horizon].append((totals, actual, np.full(len(known), back - horizon)))
    return {
        horizon: _Past(
            {name: np.concatenate([said[name] for said, _, _ in rows]) for name in MODELS},
            np.concatenate([actual for _, actual, _ in rows]),
            np.concatenate([ago for _, _, ago in rows]),
        )
        for horizon, rows in parts.items()
        if rows
    }


def _champion(past: _Past | None, horizon: int) -> tuple[str, ErrorPool, str]:
    """Return the model with the smallest absolute error on past days, its errors, and why it was chosen."""
    if past is None or len(past.actual) < MIN_ERRORS:
        count = 0 if past is None else len(past.actual)
        return NO_REPLAY, no_errors(), f"{count} past forecasts: too few to choose on, wide intervals"
    loss = {name: float(np.abs(said - past.actual).sum()) for name, said in past.said.items()}
    best = min(MODELS, key=lambda name: loss[name])
    unit = past.said[best] + OFFSET
    error = (past.actual - past.said[best]) / unit
    pool = ErrorPool(
        error=error,
        gross_error=error,
        censored=np.zeros(len(error)),
        log_movement=np.log(unit),
        days_to_show=np.full(len(error), horizon),
        recent=0.5 ** (past.days_ago / FITTED_DAYS),
        spread=1.0,
        growth=0.0,
    )
    share = loss[best] / max(float(past.actual.sum()), 1.0)
    return best, pool, f"off by {share:.0%} of the makes in {len(past.actual)} past forecasts"


def _quantiles(expected: Floats, pool: ErrorPool, horizon: int) -> Floats:
    """Return the quantiles of the makes, shape (n, levels)."""
    unit = expected + OFFSET
    size = np.round(np.log(unit) / SIZE_STEP) * SIZE_STEP
    result = np.empty((len(expected), len(LEVELS)))
    for value in np.unique(size):
        rows = size == value
        error, _, mass = scenarios(pool, float(value), horizon, centred=False)
        result[rows] = expected[rows, None] + unit[rows, None] * quantiles(error, mass, LEVELS)[None, :]
    return np.maximum(result, 0.0)
