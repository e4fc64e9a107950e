"""The fixed facts of the simulated world: who plays, where, for how much, and the calendar and seeds.

Instants are whole seconds since 1970-01-01 UTC, days are business days in Asia/Seoul.
"""

from dataclasses import dataclass
from datetime import date
from enum import IntEnum
from functools import cache
from typing import TypeVar

import numpy as np

EPOCH = date(2023, 1, 1)
"""First business day that exists."""

WORLD_VERSION = 1
"""Raise it when the simulation changes: files of another version are written anew."""

HOUR = 3_600
DAY = 86_400
SEOUL_OFFSET = 9 * HOUR
"""Asia/Seoul is UTC+9 all year, so a business day always has 24 hours."""

Seconds = TypeVar("Seconds", int, np.ndarray)

_WORLD_SEED = 20_230_101
_UNIX_ORDINAL = date(1970, 1, 1).toordinal()


class Stream(IntEnum):
    """One independent random stream per purpose: adding draws to one never moves another."""

    APPEAL = 1
    HYPE = 2
    BLOCK = 3
    CONCERT = 4
    SALES = 5
    OUTAGE = 6
    MAKES = 7
    DIRTY_ORDERS = 8
    DIRTY_MAKES = 9


@dataclass(frozen=True, slots=True)
class City:
    """A city: its name, ISO alpha-2 country, IANA time zone and size relative to the average city."""

    name: str
    country: str
    timezone: str
    size: float


@dataclass(frozen=True, slots=True)
class Pricing:
    """What a standard ticket costs in a country, and the step to which prices are rounded."""

    currency: str
    standard_price: float
    step: float


CITIES = (
    City("Seoul", "KR", "Asia/Seoul", 2.4),
    City("Busan", "KR", "Asia/Seoul", 1.0),
    City("Tokyo", "JP", "Asia/Tokyo", 2.2),
    City("Osaka", "JP", "Asia/Tokyo", 1.2),
    City("Taipei", "TW", "Asia/Taipei", 1.1),
    City("Bangkok", "TH", "Asia/Bangkok", 1.2),
    City("Jakarta", "ID", "Asia/Jakarta", 1.4),
    City("Singapore", "SG", "Asia/Singapore", 0.9),
    City("Mumbai", "IN", "Asia/Kolkata", 0.8),
    City("Sydney", "AU", "Australia/Sydney", 0.9),
    City("Auckland", "NZ", "Pacific/Auckland", 0.5),
    City("London", "GB", "Europe/London", 1.7),
    City("Birmingham", "GB", "Europe/London", 0.7),
    City("Paris", "FR", "Europe/Paris", 1.5),
    City("Berlin", "DE", "Europe/Berlin", 1.0),
    City("Madrid", "ES", "Europe/Madrid", 0.9),
    City("New York", "US", "America/New_York", 1.8),
    City("Los Angeles", "US", "America/Los_Angeles", 1.6),
    City("Birmingham", "US", "America/Chicago", 0.6),
    City("Toronto", "CA", "America/Toronto", 0.9),
    City("Mexico City", "MX", "America/Mexico_City", 1.4),
    City("São Paulo", "BR", "America/Sao_Paulo", 1.5),
    City("Buenos Aires", "AR", "America/Argentina/Buenos_Aires", 1.0),
    City("Johannesburg", "ZA", "Africa/Johannesburg", 0.6),
    City("Lagos", "NG", "Africa/Lagos", 0.7),
)

PRICING = {
    "KR": Pricing("KRW", 110_000, 1_000),
    "JP": Pricing("JPY", 11_000, 100),
    "TW": Pricing("TWD", 2_800, 100),
    "TH": Pricing("THB", 3_200, 100),
    "ID": Pricing("IDR", 1_200_000, 50_000),
    "SG": Pricing("SGD", 128, 1),
    "IN": Pricing("INR", 3_500, 50),
    "AU": Pricing("AUD", 119, 0.5),
    "NZ": Pricing("NZD", 109, 0.5),
    "GB": Pricing("GBP", 62, 0.5),
    "FR": Pricing("EUR", 68, 0.5),
    "DE": Pricing("EUR", 66, 0.5),
    "ES": Pricing("EUR", 58, 0.5),
    "US": Pricing("USD", 85, 0.25),
    "CA": Pricing("CAD", 95, 0.25),
    "MX": Pricing("MXN", 1_300, 10),
    "BR": Pricing("BRL", 320, 10),
    "AR": Pricing("ARS", 60_000, 500),
    "ZA": Pricing("ZAR", 850, 10),
    "NG": Pricing("NGN", 45_000, 500),
}

ARTISTS = (
    "LUMI9",
    "NOVA:RE",
    "별하나둘",
    "AZURELINE",
    "달빛우체국",
    "QUARTZ7EN",
    "Seo Ari-on",
    "ONDA*ONDA",
    "HALO.zip",
    "ECHO-13",
    "夜航電波",
    "さくらノイズ工房",
    "Zoë & the O'Malleys",
    'The "Nearly" Orchestra',
    "L'Étoile de Papier",
    "Söhne des Nebelhorns",
    "Ñandú Eléctrico",
    "Żółte Parasolki",
    "Os Satélites de Barro",
    "Мятный Трамвай",
    "Kwame Sunday-Boateng",
    "Vera Lindqvåst",
    "DJ O'Brien-Nakamura",
    "100% Wool Choir",
    "Salt/Water/Salt",
    "Harbour Clerk",
    "Nine Small Giraffes",
    "Tram 42 & Sons, Ltd.",
    "Thandi and the Long Rains",
    "The Unasked",
)

UNREQUESTED_ARTIST = len(ARTISTS) - 1
"""This artist plays concerts, but no fan on the platform ever makes them: concerts without makes."""

_FAME_SPREAD = 0.55  # log sd: the biggest act draws about five times the median one
_AFFINITY_SPREAD = 0.5  # log sd: some cities love an act that others ignore
_HYPE_SPREAD = 0.3  # log sd: an act's fashion moves its demand by about a third
_HYPE_PERIOD_DAYS = 60  # fashion turns over in about two months


def generator(stream: Stream, *keys: int) -> np.random.Generator:
    """Give the random generator of one thing, the same for ever.

    Args:
        stream: What the numbers are for.
        *keys: Non-negative numbers that name the thing (concert number, day number).

    Returns:
        A fresh generator, independent of every other stream and key.
    """
    return np.random.default_rng(np.random.SeedSequence([_WORLD_SEED, int(stream), *keys]))


def day_number(day: date) -> int:
    """Count the days from 1970-01-01 to `day`."""
    return day.toordinal() - _UNIX_ORDINAL


def date_of(number: int) -> date:
    """Give the date of a day number: the inverse of `day_number`."""
    return date.fromordinal(number + _UNIX_ORDINAL)


def day_start(number: int) -> int:
    """Give the UTC second at which a business day begins; it ends where the next begins."""
    return number * DAY - SEOUL_OFFSET


def day_of_second(second: Seconds) -> Seconds:
    """Give the number of the business day that holds a UTC second, for one or for an array."""
    return (second + SEOUL_OFFSET) // DAY


@cache
def appeal() -> np.ndarray:
    """How much each city wants each artist.

    Returns:
        Float array (artists, cities) with mean 1. It drives makes and sales alike, each with noise of
        its own, which is what makes demand informative about sales and no more than that.
    """
    rng = generator(Stream.APPEAL)
    fame = rng.lognormal(0, _FAME_SPREAD, (len(ARTISTS), 1))
    affinity = rng.lognormal(0, _AFFINITY_SPREAD, (len(ARTISTS), len(CITIES)))
    size = np.array([city.size for city in CITIES])
    wanted = fame * affinity * size
    wanted /= wanted.mean()
    wanted.flags.writeable = False
    return wanted


@cache
def _hype_knot(period: int) -> np.ndarray:
    return generator(Stream.HYPE, period).normal(0, _HYPE_SPREAD, len(ARTISTS))


def hype(day: int) -> np.ndarray:
    """How fashionable each artist is on a day.

    Linear between independent values two months apart, so neighbouring days resemble each other and
    any day can be had without the days before it.

    Args:
        day: Day number, not before 1970.

    Returns:
        Float array (artists,), around 1.
    """
    period, elapsed = divmod(day, _HYPE_PERIOD_DAYS)
    weight = elapsed / _HYPE_PERIOD_DAYS
    return np.exp((1 - weight) * _hype_knot(period) + weight * _hype_knot(period + 1))
