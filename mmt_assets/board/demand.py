"""Fans by city and artist: where they are, and where they wait without a concert."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmt_assets.board.concerts import BoardConcert

MOST_CITIES = 15
MOST_ARTISTS = 12
MOST_WAITING = 12
SHADES = 5
_PLACE = ["artist", "country", "city"]
# Column of the demand frame: what the page calls it.
MEASURES = {"fans": "Fans so far", "recent_fans": "New in the last 28 days", "fans_ahead": "Expected in 84 days"}


@dataclass(frozen=True)
class HeatCell:
    """Fans of one artist in one city.

    Attributes:
        values: One number per measure; None where nothing is known.
        shades: 0 (none) to `SHADES`, per measure.
        has_concert: Whether a concert of the artist in the city is ahead.
    """

    values: tuple[int | None, ...]
    shades: tuple[int, ...]
    has_concert: bool


@dataclass(frozen=True)
class HeatTable:
    """Cities by artists, both by fans, most first."""

    artists: tuple[str, ...]
    cities: tuple[tuple[str, str], ...]
    cells: tuple[tuple[HeatCell, ...], ...]


@dataclass(frozen=True)
class Waiting:
    """Fans of an artist in a city where no concert of that artist is ahead."""

    artist: str
    city: str
    country: str
    fans: int
    recent_fans: int
    fans_ahead: float | None


def heat_table(demand: pd.DataFrame, concerts: Sequence[BoardConcert]) -> HeatTable:
    """The cities and artists with the most fans."""
    artists = demand.groupby("artist")["fans"].sum().sort_values(ascending=False, kind="stable").head(MOST_ARTISTS)
    by_city = demand.groupby(["city", "country"])["fans"].sum()
    cities = by_city.sort_values(ascending=False, kind="stable").head(MOST_CITIES)
    known = {(row["artist"], row["country"], row["city"]): row for row in demand.to_dict("records")}
    shown = [known.get((artist, country, city)) for city, country in cities.index for artist in artists.index]
    largest = [max((_value(row, name) or 0 for row in shown if row), default=0) for name in MEASURES]
    ahead = {(one.artist, one.country, one.city) for one in concerts if one.flag != "cancelled"}

    def cell(artist: str, country: str, city: str) -> HeatCell:
        row = known.get((artist, country, city))
        values = tuple(_value(row, name) if row else None for name in MEASURES)
        shades = tuple(_shade(value, most) for value, most in zip(values, largest, strict=True))
        return HeatCell(values, shades, (artist, country, city) in ahead)

    return HeatTable(
        tuple(artists.index),
        tuple(cities.index),
        tuple(tuple(cell(artist, country, city) for artist in artists.index) for city, country in cities.index),
    )


def waiting_fans(demand: pd.DataFrame, concerts: Sequence[BoardConcert]) -> list[Waiting]:
    """Where the most fans are without a concert of their artist ahead."""
    ahead = {(one.artist, one.country, one.city) for one in concerts if one.flag != "cancelled"}
    places = zip(*(demand[name] for name in _PLACE), strict=True)
    without = demand[np.array([place not in ahead for place in places], dtype=bool)]
    most = without.sort_values(["fans", *_PLACE], ascending=[False, True, True, True]).head(MOST_WAITING)
    return [
        Waiting(
            row["artist"],
            row["city"],
            row["country"],
            int(row["fans"]),
            int(row["recent_fans"]),
            float(row["fans_ahead"]) if pd.notna(row["fans_ahead"]) else None,
        )
        for row in most.to_dict("records")
    ]


def _value(row: dict, measure: str) -> int | None:
    return round(row[measure]) if pd.notna(row[measure]) else None


def _shade(value: int | None, largest: int) -> int:
    """Shade by the root of the share: a few places have most of the fans."""
    if not value or largest <= 0:
        return 0
    return min(SHADES, 1 + int((value / largest) ** 0.5 * SHADES * 0.999))
