"""Made-up sources of other shapes than the real ones: would the forecast hold where nobody looked when it was built?

Every concert has a level of its own (artist, venue, chance), a curve over its sale, a weekday and a pace that drifts
from day to day; orders are counts with more noise than Poisson's. Nothing here is taken from the forecast's model.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

FIRST_SHOW = pd.Timestamp("2022-01-01")
WEEKDAYS = np.array([0.9, 0.9, 1.0, 1.0, 1.2, 1.2, 0.8])
ARTISTS, VENUES = 20, 12
DRIFT, DRIFT_MEMORY, NOISE = 0.12, 0.95, 0.3


@dataclass(frozen=True)
class Shape:
    """A made-up source.

    Attributes:
        opening, steady, closing: Relative sales are `steady`, plus so much on the first and on the last day, each with
            the days in which that falls to 37%.
        concerts, days: How many concerts, over how many days.
        size: Tickets of a typical concert. spread: standard deviation of the log size beside artist and venue.
        sale_days: Typical length of a sale.
        capacity: Typical capacity over the expected size; None where capacities are unknown.
        group: Mean tickets of an order. refunded: share of the tickets given back. growth: log growth per year.
    """

    opening: tuple[float, float]
    steady: float
    closing: tuple[float, float]
    concerts: int
    days: int
    size: float
    spread: float
    sale_days: int = 90
    capacity: float | None = None
    group: float = 1.0
    refunded: float = 0.0
    growth: float = 0.0


_NONE = (0.0, 1.0)
_BURST = ((8.0, 2.0), 0.6, (1.5, 6.0))
_BOTH_ENDS = ((3.0, 4.0), 0.4, (2.0, 8.0))
SHAPES = {
    "burst": Shape(*_BURST, 1200, 700, 300, 0.6),
    "burst_capacity": Shape(*_BURST, 1200, 700, 900, 0.6, capacity=1.1),
    "late_small": Shape(_NONE, 0.05, (1.0, 5.0), 1500, 700, 40, 0.7, sale_days=45),
    "both_ends_large": Shape(*_BOTH_ENDS, 600, 900, 8000, 0.8),
    "groups": Shape(_NONE, 1.0, _NONE, 1000, 700, 200, 0.6, sale_days=120, group=6.0, refunded=0.15),
    "growth": Shape(*_BOTH_ENDS, 1000, 700, 150, 0.5, sale_days=60, growth=0.7),
    "few": Shape(*_BOTH_ENDS, 300, 900, 400, 1.0),
}


def shape_frames(shape: Shape, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return concerts and daily sales of a shape, columns as `benchmarks.accuracy_sources.Source` has them."""
    random = np.random.default_rng(seed)
    show = np.sort(random.integers(0, shape.days, shape.concerts))
    artist, venue = random.integers(0, ARTISTS, shape.concerts), random.integers(0, VENUES, shape.concerts)
    known = np.log(shape.size) + random.normal(0, 0.5, ARTISTS)[artist] + random.normal(0, 0.3, VENUES)[venue]
    level = known + random.normal(0, shape.spread, shape.concerts) + shape.growth * show / 365
    length = np.maximum(np.round(shape.sale_days * np.exp(random.normal(0, 0.35, shape.concerts))), 5).astype(int)
    capacity = np.full(shape.concerts, np.nan)
    if shape.capacity is not None:
        spread = np.exp(known + random.normal(0, 0.3, shape.concerts))
        capacity = np.maximum(np.round(shape.capacity * spread, -1), 10)
    sales = [
        _sales(shape, random, f"concert-{number:04d}", *of)
        for number, of in enumerate(zip(show, length, np.exp(level), capacity, strict=True))
    ]
    concerts = pd.DataFrame(
        {
            "concert_id": [f"concert-{number:04d}" for number in range(shape.concerts)],
            "artist": [f"artist {number}" for number in artist],
            "city": [f"city {number // 2}" for number in venue],
            "country": "KR",
            "venue": [f"venue {number}" for number in venue],
            "capacity": capacity,
            "on_sale_date": FIRST_SHOW + pd.to_timedelta(show - length, unit="D"),
            "show_date": FIRST_SHOW + pd.to_timedelta(show, unit="D"),
            "currency": "KRW",
            "cancelled_on": np.datetime64("NaT", "ns"),
            "on_sale_derived": False,
        }
    )
    return concerts, pd.concat(sales, ignore_index=True)


def _sales(
    shape: Shape, random: np.random.Generator, concert_id: str, show: int, length: int, total: float, capacity: float
) -> pd.DataFrame:
    """Draw one concert's days, sold no further than its capacity."""
    age = np.arange(length + 1)
    left = length - age
    (first, fall), (last, rise) = shape.opening, shape.closing
    curve = (first * np.exp(-age / fall) + shape.steady + last * np.exp(-left / rise)) * WEEKDAYS[(show - left) % 7]
    drift, step = np.zeros(length + 1), random.normal(0, DRIFT, length + 1)
    for day in range(1, length + 1):
        drift[day] = DRIFT_MEMORY * drift[day - 1] + step[day]
    mean = total * curve / curve.sum() * np.exp(drift) * random.gamma(1 / NOISE, NOISE, length + 1)
    orders = random.poisson(mean / shape.group)
    wanted = np.array([random.geometric(1 / shape.group, count).sum() for count in orders])
    sold, back, held = np.zeros(length + 1), np.zeros(length + 1), 0
    for day in range(length + 1):
        back[day] = random.binomial(held, min(shape.refunded / length, 1.0))
        sold[day] = wanted[day] if np.isnan(capacity) else min(wanted[day], capacity - held + back[day])
        held += int(sold[day] - back[day])
    some = np.flatnonzero((sold > 0) | (back > 0))
    dates = FIRST_SHOW + pd.to_timedelta(show - left[some], unit="D")
    return pd.DataFrame(
        {"concert_id": concert_id, "sales_date": dates, "tickets_sold": sold[some], "tickets_refunded": back[some]}
    )
