"""The programme of concerts: where and when each plays, and what is public about it.

Concert number n is made from its own seed and its block's, never from other concerts, so any part of
the programme can be had alone. Blocks of forty concerts (half a year) deal out the rare traits, which
keeps every window of 18 months supplied with each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np

from mmt_assets.sample.world import (
    ARTISTS,
    CITIES,
    DAY,
    EPOCH,
    HOUR,
    City,
    Stream,
    appeal,
    date_of,
    day_number,
    day_of_second,
    day_start,
    generator,
    hype,
)

ConcertStatus = Literal["announced", "on_sale", "completed", "cancelled"]
SalesStyle = Literal["rush", "classic", "late"]

BLOCK_SIZE = 40
_DAYS_BETWEEN = 4.5625  # 120 concerts in 18 months of 547.5 days
_START_JITTER_DAYS = 1.5  # on-sale days are not a metronome
_SALES_DAYS = np.linspace(60, 260, 10)  # mean 160 days x 120 concerts in 548 days = 35 on sale at a time
_LONGEST_LIFE_DAYS = 320  # announcement to show: longest sale, longest notice, and the weekend search
_BLOCKS_BEFORE_EPOCH = 2  # a year of earlier concerts, so that the epoch finds a full programme
_NOTICE_DAYS = (7, 31)  # announced one to four weeks before tickets go on sale
_ON_SALE_HOURS = (10, 12, 18)  # local hours at which on-sales open
_SHOW_TIME = time(19)
_SHOW_LENGTH = 3 * HOUR  # a concert counts as completed when the lights go on
_SHOW_WEEKDAYS = ((3, 4, 5, 6), (0.1, 0.3, 0.4, 0.2))  # Thursday to Sunday
_STYLES: tuple[tuple[SalesStyle, ...], tuple[float, ...]] = (("rush", "classic", "late"), (0.2, 0.5, 0.3))
_ORDERS_AT_MEAN_APPEAL = 1_020  # brings 18 months to about 150,000 orders
_APPEAL_TO_SALES = 0.7  # tickets grow more slowly than requests: fans of big acts overlap
_SALES_NOISE = 0.3  # log sd of sales given demand: requests inform, they do not decide
_TICKETS_PER_ORDER = 2.06  # mean of the quantities in `sales`
_CAPACITY_MARGIN = 0.17  # promoters book venues a little too big; gives a third of sell-outs
_CAPACITY_NOISE = 0.3  # log sd of the promoter's guess
_CANCELLED_AT = (0.45, 0.9)  # share of the sales period after which a cancelled concert is cancelled


@dataclass(frozen=True, slots=True)
class Concert:
    """One simulated concert; instants are UTC seconds.

    `capacity`, `venue`, `timezone` and `on_sale_at` are what the source says (None: it does not);
    `seats` and `on_sale_second` are what is true. `expected_orders` is the demand without a limit.
    """

    number: int
    artist: int
    city: City
    venue: str | None
    timezone: str | None
    capacity: int | None
    seats: int
    announced_second: int
    on_sale_second: int
    on_sale_at: int | None
    show_second: int
    cancelled_second: int | None
    style: SalesStyle
    has_second_on_sale: bool
    expected_orders: float

    @property
    def concert_id(self) -> str:
        """The key in the source, unique over all time."""
        return f"C{self.number:05d}"

    @property
    def artist_name(self) -> str:
        """The artist's name."""
        return ARTISTS[self.artist]

    @property
    def sales_end_second(self) -> int:
        """The instant from which nothing can be sold: the show or the cancellation."""
        return self.show_second if self.cancelled_second is None else self.cancelled_second

    def status_before(self, instant: int) -> tuple[ConcertStatus, int | None]:
        """Tell the status that the source shows just before an instant, and since when.

        Args:
            instant: UTC second; what happens at it or later is not known.

        Returns:
            The status and the UTC second of its last change (None where that is not published).
        """
        if self.cancelled_second is not None and self.cancelled_second < instant:
            return "cancelled", self.cancelled_second
        if self.show_second + _SHOW_LENGTH < instant:
            return "completed", self.show_second + _SHOW_LENGTH
        if self.on_sale_second < instant:
            return "on_sale", self.on_sale_at
        return "announced", self.announced_second


@dataclass(frozen=True, slots=True)
class _Block:
    """Which positions of a block have which trait."""

    cancelled: int
    second_on_sale: frozenset[int]
    unknown_capacity: frozenset[int]
    zero_capacity: int | None
    unknown_on_sale: int
    unknown_timezone: int
    unknown_venue: frozenset[int]
    oversold: frozenset[int]
    sales_days: tuple[float, ...]


@cache
def _block(index: int) -> _Block:
    rng = generator(Stream.BLOCK, index)
    dealt = [int(position) for position in rng.permutation(BLOCK_SIZE)]
    # Each ten neighbours get each length once: the number on sale stays level.
    sales_days = [rng.permutation(_SALES_DAYS) for _ in range(BLOCK_SIZE // len(_SALES_DAYS))]
    return _Block(
        cancelled=dealt[0],
        second_on_sale=frozenset(dealt[1:6]),
        unknown_capacity=frozenset(dealt[6:8]),
        zero_capacity=dealt[8] if index % 3 == 0 else None,
        unknown_on_sale=dealt[9],
        unknown_timezone=dealt[10],
        unknown_venue=frozenset(dealt[11:13]),
        oversold=frozenset(dealt[13:19]),
        sales_days=tuple(float(days) for days in np.concatenate(sales_days)),
    )


def _utc_second(day: date, local_time: time, timezone: str) -> int:
    return int(datetime.combine(day, local_time, ZoneInfo(timezone)).astimezone(UTC).timestamp())


def _show_day(on_sale_day: date, sales_days: float, weekday: int) -> date:
    nominal = on_sale_day + timedelta(days=round(sales_days))
    return nominal + timedelta(days=(weekday - nominal.weekday()) % 7)


def _venue_name(city: City, seats: int) -> str:
    club_limit, hall_limit = 1_000, 3_500
    if seats < club_limit:
        return f"Club Nowhere {city.name}"
    return f"{city.name} Imaginary Hall" if seats < hall_limit else f"{city.name} Arena of Air"


def _artist(number: int) -> int:
    """Each thirty neighbours see each artist once: every artist comes back a few times a year."""
    cycle, position = divmod(number, len(ARTISTS))
    return int(generator(Stream.CONCERT, 0, cycle).permutation(len(ARTISTS))[position])


@lru_cache(maxsize=2_048)
def concert(number: int) -> Concert:
    """Make one concert of the programme.

    Args:
        number: Its number, from 0; about `BLOCK_SIZE` of them go on sale in half a year.

    Returns:
        The concert, the same on every call.
    """
    rng = generator(Stream.CONCERT, 1, number)
    block_index, position = divmod(number, BLOCK_SIZE)
    block = _block(block_index)
    artist = _artist(number)
    wanted = appeal()[artist]
    city_index = int(rng.choice(len(CITIES), p=wanted / wanted.sum()))  # proposed where demand is high
    city = CITIES[city_index]

    slot = number - _BLOCKS_BEFORE_EPOCH * BLOCK_SIZE
    jitter = rng.uniform(-_START_JITTER_DAYS, _START_JITTER_DAYS)
    on_sale_day = EPOCH + timedelta(days=round(slot * _DAYS_BETWEEN + jitter))
    on_sale = _utc_second(on_sale_day, time(int(rng.choice(_ON_SALE_HOURS))), city.timezone)
    weekdays, weights = _SHOW_WEEKDAYS
    show_day = _show_day(on_sale_day, block.sales_days[position], int(rng.choice(weekdays, p=weights)))
    show = _utc_second(show_day, _SHOW_TIME, city.timezone)
    announced = on_sale - int(rng.integers(*_NOTICE_DAYS)) * DAY + int(rng.integers(6 * HOUR))
    cancelled = on_sale + int((show - on_sale) * rng.uniform(*_CANCELLED_AT))

    guess = _ORDERS_AT_MEAN_APPEAL * wanted[city_index] ** _APPEAL_TO_SALES
    guess *= hype(day_of_second(on_sale))[artist]
    expected_orders = float(guess * rng.lognormal(0, _SALES_NOISE))
    booked = guess * _TICKETS_PER_ORDER * rng.lognormal(_CAPACITY_MARGIN, _CAPACITY_NOISE)
    capacity = max(200, round(booked / 50) * 50)  # no venue is smaller than a club
    overbooking = rng.uniform(1.005, 1.02)  # a slightly oversold house: a few standing places
    published_capacity = None if position in block.unknown_capacity else capacity
    styles, style_weights = _STYLES
    return Concert(
        number=number,
        artist=artist,
        city=city,
        venue=None if position in block.unknown_venue else _venue_name(city, capacity),
        timezone=None if position == block.unknown_timezone else city.timezone,
        capacity=0 if position == block.zero_capacity else published_capacity,
        seats=int(capacity * overbooking) if position in block.oversold else capacity,
        announced_second=announced,
        on_sale_second=on_sale,
        on_sale_at=None if position == block.unknown_on_sale else on_sale,
        show_second=show,
        cancelled_second=cancelled if position == block.cancelled else None,
        style=styles[int(rng.choice(len(styles), p=style_weights))],
        has_second_on_sale=position in block.second_on_sale,
        expected_orders=expected_orders,
    )


def concerts_between(first_day: date, last_day: date) -> Iterator[Concert]:
    """Find the concerts that were public at some time of a range of business days.

    Args:
        first_day: First business day; the show must not have begun before it.
        last_day: Last business day; the announcement must have been made by its end.

    Yields:
        Concerts in order of their number.
    """
    start, end = day_start(day_number(first_day)), day_start(day_number(last_day) + 1)
    slots_before = _BLOCKS_BEFORE_EPOCH * BLOCK_SIZE
    epoch = day_number(EPOCH)
    earliest = int((day_number(first_day) - epoch - _LONGEST_LIFE_DAYS) / _DAYS_BETWEEN) + slots_before
    latest = int((day_number(last_day) - epoch + _LONGEST_LIFE_DAYS) / _DAYS_BETWEEN) + slots_before
    for number in range(max(0, earliest), latest + 1):
        candidate = concert(number)
        if candidate.show_second >= start and candidate.announced_second < end:
            yield candidate


def announced_month(shown: Concert) -> date:
    """Give the first day of the business month in which a concert was announced."""
    return date_of(day_of_second(shown.announced_second)).replace(day=1)
