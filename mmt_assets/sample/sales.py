"""Orders and refunds of one concert, from its on-sale to its show.

A concert is simulated whole from its own seed, going forward in time: what sells on a day depends on
earlier days only, and a window shows a slice of it. Results are cached, a concert takes a few
milliseconds.
"""

import heapq
from dataclasses import dataclass
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from mmt_assets.sample.concerts import Concert, SalesStyle
from mmt_assets.sample.world import DAY, HOUR, PRICING, Stream, day_of_second, day_start, generator

NEVER = np.iinfo(np.int64).max
"""The refund instant of an order that is never refunded."""

_QUANTITIES = ((1, 2, 3, 4), (0.28, 0.50, 0.10, 0.12))  # most people go in pairs; mean 2.06
_TIERS = ((1.8, 1.0, 0.65), (0.15, 0.55, 0.30))  # price against standard: front, middle, back
_ARTIST_PRICE_NOISE = 0.15  # log sd: acts charge differently for the same room
_WEEKDAYS = np.array([0.92, 0.9, 0.92, 1.0, 1.16, 1.1, 1.0])  # Monday first; paydays and weekends sell
_HOURS = np.array([3, 2, 1, 1, 1, 1, 2, 4, 6, 7, 8, 8, 9, 8, 7, 7, 8, 9, 10, 11, 12, 11, 8, 5], float)
_MOOD_DECAY = 0.8  # today's demand remembers four fifths of yesterday's mood
_MOOD_SPREAD = 0.2  # log sd of a day's new mood
_MOOD_MEMORY_DAYS = 30  # 0.8 ** 30 is nothing
_DISPERSION = 7.0  # gamma shape of a day's rate: variance is mean + mean**2 / 7
_SPIKE_HOURS = 2.0  # mean wait of those who came for the opening of a sale
_REFUND_BETA = (4.0, 72.0)  # refunded share per concert: mean 5.3 %, differs between concerts
_REFUND_LAG_DAYS = 20.0  # mean time until somebody cannot come
_REFUND_CLOSES_DAYS = 1  # no refunds on the last day
_CANCELLATION_REFUND_DAYS = 10  # orders of a cancelled concert are paid back within ten days
_SECOND_SALE_SHARE = 0.45  # of the tickets are kept for the second on-sale
_FIRST_SALE_DAYS = (2, 8)  # the first block of tickets is on sale this long
_SECOND_SALE_GAP_DAYS = (15, 31)  # then nothing is, for two to four weeks

OUTAGE_PERIOD_DAYS = 182
"""One outage of the ticket shop per half-year, so at least two in any 18 months."""
_PARTIAL_OUTAGE_HOURS = (3, 10)


@dataclass(frozen=True, slots=True)
class _Curve:
    """Expected shares of a concert's orders: at the opening, evenly over time, towards the show."""

    opening: float
    even: float
    closing: float
    opening_days: float
    closing_days: float


_CURVES: dict[SalesStyle, _Curve] = {
    "rush": _Curve(0.78, 0.13, 0.09, opening_days=0.5, closing_days=8),  # fan clubs buy within hours
    "classic": _Curve(0.30, 0.40, 0.30, opening_days=6, closing_days=12),
    "late": _Curve(0.10, 0.35, 0.55, opening_days=5, closing_days=16),  # local crowd decides late
}
_CURVE_CONCENTRATION = 40.0  # Dirichlet: how close a concert stays to its style's shares


@dataclass(frozen=True, slots=True)
class Sales:
    """All orders of one concert in the order of their time; arrays share one length.

    `seconds` and `refund_seconds` are UTC (`NEVER` without a refund), `days` are business day numbers,
    `prices` are per ticket in the concert's currency.
    """

    concert_id: str
    currency: str
    seconds: np.ndarray
    days: np.ndarray
    quantities: np.ndarray
    prices: np.ndarray
    refund_seconds: np.ndarray


@cache
def outage(period: int) -> tuple[int, int]:
    """Give the outage of one half-year: from and until which UTC second nothing can be bought.

    Even periods lose a whole business day, odd ones a few hours.

    Args:
        period: Day number divided by `OUTAGE_PERIOD_DAYS`.

    Returns:
        First second of the outage and the second at which it is over.
    """
    rng = generator(Stream.OUTAGE, period)
    start = day_start(period * OUTAGE_PERIOD_DAYS + int(rng.integers(OUTAGE_PERIOD_DAYS)))
    if period % 2 == 0:
        return start, start + DAY
    hours = int(rng.integers(*_PARTIAL_OUTAGE_HOURS))
    begin = start + int(rng.integers(24 - hours)) * HOUR
    return begin, begin + hours * HOUR


def _outside_outages(seconds: np.ndarray) -> np.ndarray:
    allowed = np.ones(len(seconds), bool)
    if len(seconds) == 0:
        return allowed
    first, last = (day_of_second(int(edge)) // OUTAGE_PERIOD_DAYS for edge in (seconds.min(), seconds.max()))
    for period in range(first, last + 1):
        begin, end = outage(period)
        allowed &= (seconds < begin) | (seconds >= end)
    return allowed


def _normalised(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()


def _expected_shares(concert: Concert, rng: np.random.Generator, days: int) -> tuple[np.ndarray, list[int]]:
    """Expected share of the orders per 24 hours since on-sale, and the days on which a sale opens."""
    curve = _CURVES[concert.style]
    opening, even, closing = rng.dirichlet(np.array([curve.opening, curve.even, curve.closing]) * _CURVE_CONCENTRATION)
    age = np.arange(days)
    spike = _normalised(np.exp(-age / curve.opening_days))
    rise = _normalised(np.exp(-(days - 1 - age) / curve.closing_days))
    shares = opening * spike + even / days + closing * rise
    if not concert.has_second_on_sale:
        return shares, [0]
    closes = int(rng.integers(*_FIRST_SALE_DAYS))
    reopens = closes + int(rng.integers(*_SECOND_SALE_GAP_DAYS))
    second = np.concatenate([np.zeros(reopens), shares[: days - reopens]])
    first = np.where(age < closes, shares, 0)
    return (
        (1 - _SECOND_SALE_SHARE) * _normalised(first) + _SECOND_SALE_SHARE * _normalised(second),
        [0, reopens],
    )


def _orders_per_day(concert: Concert, rng: np.random.Generator, shares: np.ndarray) -> np.ndarray:
    """Gamma-Poisson counts around the expected shares, with a mood that lasts and a weekly rhythm."""
    days = len(shares)
    news = rng.normal(0, _MOOD_SPREAD, days + _MOOD_MEMORY_DAYS)
    mood = np.convolve(news, _MOOD_DECAY ** np.arange(_MOOD_MEMORY_DAYS), mode="valid")[:days]
    local_start = pd.Timestamp(concert.on_sale_second, unit="s", tz=ZoneInfo(concert.city.timezone))
    weekday = _WEEKDAYS[(local_start.weekday() + np.arange(days)) % 7]
    luck = rng.gamma(_DISPERSION, 1 / _DISPERSION, days)
    return rng.poisson(concert.expected_orders * shares * weekday * np.exp(mood) * luck)


def _order_seconds(concert: Concert, rng: np.random.Generator, counts: np.ndarray, openings: list[int]) -> np.ndarray:
    """Spread each day's orders over its 24 hours: by local hour, or in a rush when a sale opens."""
    local_hour = pd.Timestamp(concert.on_sale_second, unit="s", tz=ZoneInfo(concert.city.timezone)).hour
    ages = np.repeat(np.arange(len(counts)), counts)
    hours = rng.choice(24, len(ages), p=_normalised(np.roll(_HOURS, -local_hour)))
    usual = hours * HOUR + rng.integers(HOUR, size=len(ages))
    rushed = rng.exponential(_SPIKE_HOURS * HOUR, len(ages)).astype(np.int64)
    within_day = np.where(np.isin(ages, openings), np.minimum(rushed, DAY - 1), usual)
    return np.sort(concert.on_sale_second + ages * DAY + within_day)


def _refund_seconds(concert: Concert, rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    share = rng.beta(*_REFUND_BETA)
    lag = HOUR + rng.exponential(_REFUND_LAG_DAYS * DAY, len(seconds)).astype(np.int64)
    wanted = np.where(rng.random(len(seconds)) < share, seconds + lag, NEVER)
    refunds = np.where(wanted < concert.show_second - _REFUND_CLOSES_DAYS * DAY, wanted, NEVER)
    if concert.cancelled_second is None:
        return refunds
    paid_back = concert.cancelled_second + rng.integers(HOUR, _CANCELLATION_REFUND_DAYS * DAY, size=len(seconds))
    return np.where(refunds < concert.cancelled_second, refunds, paid_back)


def _admitted(seconds: np.ndarray, quantities: np.ndarray, refund_seconds: np.ndarray, seats: int) -> np.ndarray:
    """Sell seats in the order of the orders' time; refunded seats go back on sale at once."""
    if quantities.sum() <= seats:
        return np.ones(len(seconds), bool)
    free = seats
    returns: list[tuple[int, int]] = []
    admitted = []
    orders = zip(seconds.tolist(), quantities.tolist(), refund_seconds.tolist(), strict=True)
    for second, quantity, refund_second in orders:
        while returns and returns[0][0] <= second:
            free += heapq.heappop(returns)[1]
        fits = quantity <= free
        admitted.append(fits)
        if fits:
            free -= quantity
            heapq.heappush(returns, (refund_second, quantity))
    return np.array(admitted, bool)


@lru_cache(maxsize=512)
def simulate_sales(concert: Concert) -> Sales:
    """Simulate every order that a concert ever gets.

    Args:
        concert: From `concerts.concert`.

    Returns:
        Its orders up to the show or the cancellation, the same on every call.
    """
    rng = generator(Stream.SALES, concert.number)
    days = -(-(concert.show_second - concert.on_sale_second) // DAY)
    shares, openings = _expected_shares(concert, rng, days)
    seconds = _order_seconds(concert, rng, _orders_per_day(concert, rng, shares), openings)
    seconds = seconds[(seconds < concert.sales_end_second) & _outside_outages(seconds)]

    sizes, size_weights = _QUANTITIES
    quantities = rng.choice(sizes, len(seconds), p=size_weights)
    pricing = PRICING[concert.city.country]
    tiers, tier_weights = _TIERS
    level = pricing.standard_price * rng.lognormal(0, _ARTIST_PRICE_NOISE)
    tier_prices = np.round(np.array(tiers) * level / pricing.step) * pricing.step
    prices = tier_prices[rng.choice(len(tiers), len(seconds), p=tier_weights)]
    refunds = _refund_seconds(concert, rng, seconds)
    sold = _admitted(seconds, quantities, refunds, concert.seats)
    return Sales(
        concert_id=concert.concert_id,
        currency=pricing.currency,
        seconds=seconds[sold],
        days=day_of_second(seconds[sold]),
        quantities=quantities[sold],
        prices=prices[sold],
        refund_seconds=refunds[sold],
    )
