"""Makes: fans asking for an artist in their city, one seed per day."""

from functools import cache

import numpy as np
import pandas as pd

from mmt_assets.sample.world import (
    ARTISTS,
    CITIES,
    DAY,
    UNREQUESTED_ARTIST,
    Stream,
    appeal,
    day_start,
    generator,
    hype,
)

MAKES_PER_DAY = 352
"""About 200,000 in 18 months."""

_APPEAL_NOISE = 0.4  # log sd per artist and city: those who ask are not quite those who buy
_WEEKDAYS = np.array([0.95, 0.93, 0.93, 0.96, 1.03, 1.12, 1.08])  # Monday first; weekends have time
_DAY_DISPERSION = 25.0  # gamma shape of the whole platform's day: variance is mean**2 / 25 on top
_PAIR_DISPERSION = 2.0  # gamma shape per artist, city and day: requests come in bursts
_DEVOTED_SHARE = 0.2  # of the makes come from the devoted, who ask again and again
_DEVOTED_FANS = 40  # per artist and city at a time
_DEVOTED_TURNOVER_DAYS = 30  # one of them leaves and another comes in this time
_CITY_FANS = 8_000  # other fans of a city at a time, who may ask for anybody, more than once
_CITY_TURNOVER = 4  # of them leave and come per day
_EPOCH_1970_WEEKDAY = 3  # 1970-01-01 was a Thursday
_DEVOTED_ID_SPACE = 100_000  # ids per artist and city: enough for 8,000 years of turnover


@cache
def _pair_rates() -> np.ndarray:
    noise = generator(Stream.APPEAL, 1).lognormal(0, _APPEAL_NOISE, (len(ARTISTS), len(CITIES)))
    rates = appeal() * noise
    rates[UNREQUESTED_ARTIST] = 0
    return rates / rates.sum()


_CITY_NAMES = np.array([city.name for city in CITIES], object)
_COUNTRIES = np.array([city.country for city in CITIES], object)
_ARTIST_NAMES = np.array(ARTISTS, object)


def _fan_ids(rng: np.random.Generator, day: int, artists: np.ndarray, cities: np.ndarray) -> list[str]:
    """Draw fans from pools that drift with time: fans come back for a while and then lose interest."""
    devoted = rng.random(len(artists)) < _DEVOTED_SHARE
    pair = artists * len(CITIES) + cities
    devoted_number = day // _DEVOTED_TURNOVER_DAYS + rng.integers(_DEVOTED_FANS, size=len(artists))
    casual_number = day * _CITY_TURNOVER + rng.integers(_CITY_FANS, size=len(artists))
    return [
        f"fan-{pair_id:03d}d{first:05d}" if is_devoted else f"fan-{city:02d}c{other:07d}"
        for is_devoted, pair_id, first, city, other in zip(
            devoted.tolist(),
            pair.tolist(),
            (devoted_number % _DEVOTED_ID_SPACE).tolist(),
            cities.tolist(),
            casual_number.tolist(),
            strict=True,
        )
    ]


def makes_of_day(day: int) -> pd.DataFrame:
    """Make the requests of one business day.

    Args:
        day: Business day number.

    Returns:
        Columns fan_id, artist, city, country and second (UTC, rising).
    """
    rng = generator(Stream.MAKES, day)
    weekday = _WEEKDAYS[(day + _EPOCH_1970_WEEKDAY) % 7]
    rates = _pair_rates() * hype(day)[:, None] * (MAKES_PER_DAY * weekday)
    rates *= rng.gamma(_DAY_DISPERSION, 1 / _DAY_DISPERSION)
    counts = rng.poisson(rates * rng.gamma(_PAIR_DISPERSION, 1 / _PAIR_DISPERSION, rates.shape))
    artists, cities = np.divmod(np.repeat(np.arange(counts.size), counts.ravel()), len(CITIES))
    seconds = day_start(day) + rng.integers(DAY, size=len(artists))
    order = np.argsort(seconds, kind="stable")
    artists, cities = artists[order], cities[order]
    return pd.DataFrame(
        {
            "fan_id": _fan_ids(rng, day, artists, cities),
            "artist": _ARTIST_NAMES[artists],
            "city": _CITY_NAMES[cities],
            "country": _COUNTRIES[cities],
            "second": seconds[order],
        }
    )
