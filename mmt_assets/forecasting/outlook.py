"""From model paths and error scenarios to published numbers: bounds, quantiles, sell-out, status."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import pandas as pd

from mmt_assets.forecasting import refunds
from mmt_assets.forecasting.inputs import Floats, Ints, dates
from mmt_assets.forecasting.intervals import ErrorPool, movement, quantiles, scenarios

StatusFlag = Literal[
    "cancelled",
    "sold_out",
    "likely_sell_out",
    "not_on_sale",
    "new",
    "stalled",
    "no_comparables",
    "ahead",
    "behind",
    "on_track",
]
"""In this order, the first that holds: cancelled; net sales at capacity; sell-out probability of 50% or more; the
sale has not begun; it began less than 3 days ago; nothing sold for 14 days where 5 tickets were expected; nothing
to compare with; `pace_pct` at least 15, at most -15, or between."""

LEVELS = (0.1, 0.5, 0.9)
FINAL_LEVELS = tuple(k / 20 for k in range(1, 20))
"""Levels at which the distribution of the net total is given."""
_PUBLISHED = [FINAL_LEVELS.index(level) for level in LEVELS]
LIKELY = 0.5
NEW_DAYS = 3
STALLED_DAYS = 14
STALLED_TICKETS = 5.0
PACE_MARGIN = 15.0
DECIMALS = 4
_TAIL = NormalDist().inv_cdf(LEVELS[2])


@dataclass(frozen=True)
class ConcertForecast:
    """One concert's quantiles (columns p10, p50, p90); rows are the days from D + 1 to the show."""

    daily: Floats
    net: Floats
    gross: Floats
    final: Floats
    final_gross_p50: float
    sell_out_probability: float
    final_quantiles: Floats
    """Net total at `FINAL_LEVELS`."""


def forecast_concert(
    path: Floats,
    kept: Floats,
    *,
    final: float,
    remaining: float,
    net: float,
    gross: float,
    capacity: float,
    phi: float,
    pool: ErrorPool,
) -> ConcertForecast:
    """Turn one concert's expected path into quantiles within the bounds.

    Args:
        path: Expected gross tickets per day ahead, first day first, shape (days,), days >= 1.
        kept: Share of the tickets held now that is kept to the end of each day, shape (days,).
        final: Net tickets expected at the show, the capacity left out of account.
        remaining: Gross tickets expected from now to the show; the path is scaled to them.
        net: Net tickets now.
        gross: Gross tickets now.
        capacity: NaN when unknown.
        phi: Dispersion of daily sales.
        pool: Past errors.
    """
    days = len(path)
    limit = max(capacity, net) if np.isfinite(capacity) else np.inf
    shape = path / path.sum() if path.sum() > 0 else np.full(days, 1 / days)
    progress = np.cumsum(shape)
    unit = float(movement(np.array(remaining), np.array(final), np.array(net)))
    error, gross_error, mass = scenarios(pool, np.log(unit), days)
    wanted = np.maximum(final + unit * error, 0.0)
    distribution = quantiles(np.minimum(wanted, limit), mass, FINAL_LEVELS)
    finals = distribution[_PUBLISHED]
    probability = np.nan
    if np.isfinite(capacity):
        # The masses add up to one, give or take a rounding.
        probability = 1.0 if net >= capacity else min(1.0, float(mass[wanted >= capacity].sum()))
    # A full house sells again only what is refunded.
    room = np.clip(remaining + unit * gross_error, 0.0, limit - net + max(net + remaining - final, 0.0))
    totals = quantiles(room, mass, LEVELS)
    gross_path = gross + _spread_over_days(totals, progress, pool.growth)
    net_path = _net_quantiles(gross_path - gross, net, kept, finals, progress)
    net_path = np.sort(np.clip(net_path, 0.0, limit), axis=1)
    daily = _daily_quantiles(net_path, gross_path, gross, net, phi, limit)
    return ConcertForecast(
        daily=np.round(daily, DECIMALS),
        net=np.round(net_path, DECIMALS),
        gross=np.round(gross_path, DECIMALS),
        final=np.round(net_path[-1], DECIMALS),
        final_gross_p50=round(float(gross_path[-1, 1]), DECIMALS),
        sell_out_probability=probability,
        final_quantiles=distribution,
    )


def cancelled_forecast(days: int, net: float, gross: float, capacity: float) -> ConcertForecast:
    """Return the forecast of a cancelled concert: every ticket goes back on the next day."""
    zero = np.zeros((days, 3))
    daily = zero.copy()
    daily[:1] = -net
    none = np.zeros(len(FINAL_LEVELS))
    return ConcertForecast(daily, zero, zero + gross, np.zeros(3), gross, np.nan if np.isnan(capacity) else 0.0, none)


def complete_forecast(net: float, gross: float, capacity: float) -> ConcertForecast:
    """Return the forecast of a show on the as-of date: final is what is sold."""
    zero = np.zeros((0, 3))
    probability = np.nan if np.isnan(capacity) else float(net >= capacity)
    same = np.full(len(FINAL_LEVELS), net)
    return ConcertForecast(zero, zero, zero, np.full(3, net), gross, probability, same)


def _spread_over_days(totals: Floats, progress: Floats, growth: float) -> Floats:
    """Cumulative gross tickets per day and quantile: early days are relatively less certain than the total.

    The distance to the median is that of the total times progress^(1 - growth): relative to what is sold until then
    it shrinks as progress^-growth does, in tickets it starts at nothing.
    """
    middle = totals[1]
    path = middle * progress[:, None] + (totals - middle)[None, :] * progress[:, None] ** (1 - growth)
    path = np.maximum.accumulate(np.maximum(path, 0.0), axis=0)
    path[-1] = totals
    return np.minimum(path, totals[None, :])


def _net_quantiles(bought: Floats, net: float, kept: Floats, final: Floats, progress: Floats) -> Floats:
    daily = np.diff(bought.T, axis=1, prepend=0.0)
    path = refunds.net_path(np.full(len(final), net), daily[:, ::-1], kept[None, ::-1])[:, ::-1]
    result = (path + (final - path[:, -1])[:, None] * progress).T
    result[-1] = final
    return result


def _daily_quantiles(
    net_path: Floats, gross_path: Floats, gross: float, net: float, phi: float, limit: float
) -> Floats:
    """Quantiles of a single day: gamma noise of variance m + phi m^2 around the day's gross tickets.

    Wilson & Hilferty 1931 give the gamma quantile in closed form.
    """
    middle = np.diff(net_path[:, 1], prepend=net)
    mean = np.maximum(np.diff(gross_path[:, 1], prepend=gross), 0.0)
    returned = np.maximum(mean - middle, 0.0)
    form = np.maximum(mean, 1e-9) ** 2 / (mean + phi * mean**2 + 1e-9)
    root = 1 - 1 / (9 * form)
    low = mean * np.maximum(root - _TAIL / (3 * np.sqrt(form)), 0.0) ** 3
    high = mean * np.maximum(root + _TAIL / (3 * np.sqrt(form)), 0.0) ** 3
    noise = _TAIL * np.sqrt(returned)
    down, up = np.maximum(mean - low, 0.0), np.maximum(high - mean, 0.0)
    lower = middle - np.sqrt(down**2 + noise**2)
    # Below zero only through refunds, and never below nothing.
    lower = np.maximum(np.maximum(lower, -(returned + noise)), -np.concatenate([[net], net_path[:-1, 2]]))
    upper = np.minimum(middle + np.sqrt(up**2 + noise**2), limit)
    return np.column_stack([np.minimum(lower, middle), middle, np.maximum(upper, middle)])


def sell_out_day(forecast: ConcertForecast, capacity: float, as_of: int, net: float) -> int | None:
    """Return the first day on which the median path reaches the capacity; the as-of day if it already has."""
    if not np.isfinite(capacity):
        return None
    if net >= capacity:
        return as_of
    reached = np.flatnonzero(forecast.net[:, 1] >= capacity - 0.5)
    return as_of + 1 + int(reached[0]) if len(reached) else None


def status_flag(
    *, age: int, recent: float, recent_expected: float, pace_pct: float, net: float, capacity: float, chance: float
) -> StatusFlag:
    """Return the status of a concert that is not cancelled; see `StatusFlag` for the rules."""
    flags: list[tuple[bool, StatusFlag]] = [
        (np.isfinite(capacity) and net >= capacity, "sold_out"),
        (chance >= LIKELY, "likely_sell_out"),
        (age < 0, "not_on_sale"),
        (age < NEW_DAYS, "new"),
        (age >= STALLED_DAYS and recent <= 0 and recent_expected >= STALLED_TICKETS, "stalled"),
        (np.isnan(pace_pct), "no_comparables"),
        (pace_pct >= PACE_MARGIN, "ahead"),
        (pace_pct <= -PACE_MARGIN, "behind"),
    ]
    for holds, flag in flags:
        if holds:
            return flag
    return "on_track"


def quantiles_frame(concert_ids: Sequence[object], said: Sequence[Floats]) -> pd.DataFrame:
    """Return the rows (concert_id, level, tickets) of several concerts' `final_quantiles`."""
    count = len(FINAL_LEVELS)
    return pd.DataFrame(
        {
            "concert_id": np.repeat(np.asarray(concert_ids, dtype=object), count),
            "level": np.tile(FINAL_LEVELS, len(said)),
            "tickets": np.concatenate(said) if len(said) else np.empty(0),
        }
    )


def paths_frame(concerts: Ints, forecasts: Sequence[ConcertForecast], as_of: int) -> pd.DataFrame:
    """Return the rows of `ticket_sales` of several concerts, with their numbers as `concert`.

    A show on the as-of date has no row.
    """
    days = [len(one.daily) for one in forecasts]
    frame: dict[str, object] = {
        "concert": np.repeat(concerts, days),
        "sales_date": dates(
            np.concatenate([as_of + 1 + np.arange(count) for count in days] or [np.empty(0, np.int64)])
        ),
    }
    for name, part in (("tickets", "daily"), ("cumulative_tickets", "net"), ("cumulative_gross_tickets", "gross")):
        values = np.concatenate([getattr(one, part) for one in forecasts] or [np.empty((0, len(LEVELS)))])
        frame |= {f"{name}_p{round(100 * level)}": values[:, k] for k, level in enumerate(LEVELS)}
    return pd.DataFrame(frame)
