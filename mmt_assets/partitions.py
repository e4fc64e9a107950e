"""Day and concert partitions, and what may be a key of them."""

import re
from collections.abc import Iterable
from datetime import date, timedelta

import dagster as dg

from mmt_assets.settings import Settings

CONCERTS = dg.DynamicPartitionsDefinition(name="concerts")
# Thirty years: longer than any history.
_LONGEST_HISTORY_DAYS = 30 * 366
CONCERT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")


def day_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Business days from the first day to the last complete one, or to the day that history is frozen at."""
    # Dagster's end is exclusive.
    end = (settings.last_day + timedelta(days=1)).isoformat() if settings.last_day else None
    return dg.DailyPartitionsDefinition(
        start_date=settings.partitions_start().isoformat(), end_date=end, timezone=settings.timezone
    )


def days_between(first: date, last: date) -> list[date]:
    """All days from `first` to `last`, both included."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def is_concert_partition_key(concert_id: str) -> bool:
    """Whether a concert id may be a partition key: letters, digits and `._:-`, at most 100 of them."""
    return CONCERT_ID.fullmatch(concert_id) is not None


def day_ranges(days: Iterable[date]) -> str:
    """Days as the fewest ranges, for messages: `2026-01-01 to 2026-01-03, 2026-01-05`."""
    ordered, ranges = sorted(days), list[tuple[date, date]]()
    for day in ordered:
        if ranges and day - ranges[-1][1] == timedelta(days=1):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in ranges)


def whole_history() -> dg.TimeWindowPartitionMapping:
    """A day depends on all days up to it, so that chunks of a backfill run after those they need."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-_LONGEST_HISTORY_DAYS, allow_nonexistent_upstream_partitions=True
    )
