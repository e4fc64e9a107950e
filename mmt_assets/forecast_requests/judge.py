"""Whether a request can be done, and why not."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import dagster as dg
import pandas as pd

from mmt_assets.assets.catalog import asset_key
from mmt_assets.contracts import CONCERT_SALES
from mmt_assets.contracts import CONCERTS as CONCERT_VERSIONS
from mmt_assets.gcp.forecast_request import ConcertRequest, DailyRequest, RequestError, parse_request
from mmt_assets.gcp.pubsub import Message
from mmt_assets.partitions import is_concert_partition_key
from mmt_assets.resources import WarehouseResource
from mmt_assets.settings import Settings
from mmt_assets.warehouse import Statement, WarehouseError

_HISTORY = (asset_key(CONCERT_VERSIONS), asset_key(CONCERT_SALES))
# A tick has ten seconds; messages wait better with Pub/Sub than a tick for the file.
_BUSY_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class WantedConcert:
    """A concert to be forecast."""

    concert_id: str


@dataclass(frozen=True)
class WantedDay:
    """A day to be made."""

    day: date
    rerun: bool


@dataclass(frozen=True)
class Rejected:
    """A message that can never be done."""

    reason: str


@dataclass(frozen=True)
class KnownConcert:
    """A concert as of the last complete day."""

    status: str
    show_date: date


class ConcertsUnknownError(Exception):
    """The concerts cannot be read now; the message says why. Requests wait."""


class ConcertBook:
    """The concerts as of the last complete day, read again when they have been materialised since."""

    def __init__(self) -> None:
        self._read_for: tuple[object, ...] | None = None
        self._concerts: dict[str, KnownConcert] = {}

    def concerts(
        self, instance: dg.DagsterInstance, warehouse: WarehouseResource, settings: Settings, now: datetime
    ) -> Mapping[str, KnownConcert]:
        """All concerts by id.

        Raises:
            ConcertsUnknownError: Nothing was loaded yet, or the warehouse cannot be read (another process may hold it).
        """
        today = settings.last_complete_day(now)
        latest = [instance.get_latest_materialization_event(key) for key in _HISTORY]
        if not all(latest):
            raise ConcertsUnknownError("the warehouse is empty: run the daily job first")
        state = (warehouse.path, today, *(event and event.timestamp for event in latest))
        if state != self._read_for:
            statement = Statement.from_file("forecasts/concerts_as_of.sql", as_of=today, timezone=settings.timezone)
            try:
                with warehouse.waiting_at_most(_BUSY_TIMEOUT_SECONDS).open(read_only=True) as session:
                    frame = session.query(statement)
            except WarehouseError as error:
                raise ConcertsUnknownError(str(error)) from error
            rows = zip(frame["concert_id"], frame["status"], pd.to_datetime(frame["show_date"]), strict=True)
            self._concerts = {str(name): KnownConcert(str(status), show.date()) for name, status, show in rows}
            self._read_for = state
        return self._concerts


def read_message(message: Message, settings: Settings, now: datetime) -> WantedConcert | WantedDay | Rejected:
    """What a message asks for, or why it can never be done, as far as it says so itself.

    Args:
        message: Message.
        settings: Settings.
        now: The present instant (aware).
    """
    try:
        request = parse_request(message.data)
    except RequestError as error:
        return Rejected(str(error))
    age = now - message.published_at
    if age > timedelta(hours=settings.request_max_age_hours):
        hours = age.total_seconds() / 3600
        return Rejected(
            f"expired: published {hours:.0f} hours ago, more than MMT_REQUEST_MAX_AGE_HOURS "
            f"({settings.request_max_age_hours:g}); ask again if it is still wanted"
        )
    if isinstance(request, DailyRequest):
        return _wanted_day(request, message, settings, now)
    return _wanted_concert(request)


def _wanted_day(request: DailyRequest, message: Message, settings: Settings, now: datetime) -> WantedDay | Rejected:
    # A message means the same day whenever it is looked at.
    day = request.as_of_date or settings.last_complete_day(message.published_at)
    last = settings.last_complete_day(now)
    if day > last:
        return Rejected(f"as_of_date {day} is not over yet: the last complete day is {last}")
    if day < settings.partitions_start():
        return Rejected(f"as_of_date {day} lies before the first day {settings.partitions_start()}")
    return WantedDay(day, request.rerun)


def _wanted_concert(request: ConcertRequest) -> WantedConcert | Rejected:
    if not is_concert_partition_key(request.concert_id):
        return Rejected(f"concert_id {request.concert_id!r} cannot be one: allowed are A-Z a-z 0-9 . _ : -")
    return WantedConcert(request.concert_id)


def why_not(concert_id: str, concerts: Mapping[str, KnownConcert]) -> str | None:
    """Why a concert cannot be forecast; None when it can."""
    known = concerts.get(concert_id)
    if known is None:
        return f"unknown concert {concert_id!r}: raw/concerts does not have it (yet: materialise it first)"
    if known.status == "completed":
        return f"concert {concert_id!r} is over: its show was on {known.show_date}"
    if known.status == "cancelled":
        return f"concert {concert_id!r} is cancelled"
    return None
