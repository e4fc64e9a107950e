"""Days and concert ids as partition keys."""

from datetime import UTC, date, datetime

import pytest

from mmt_assets.partitions import day_partitions, day_ranges, days_between, is_concert_partition_key
from mmt_assets.settings import Settings

FROZEN = Settings.model_validate({"first_day": "2026-01-01", "last_day": "2026-01-03"})


def test_partitions_end_at_the_last_day() -> None:
    assert list(day_partitions(FROZEN).get_partition_keys()) == ["2026-01-01", "2026-01-02", "2026-01-03"]


@pytest.mark.parametrize(
    ("now", "last"), [("2026-01-03T14:59:59+00:00", "2026-01-02"), ("2026-01-03T15:00:00+00:00", "2026-01-03")]
)
def test_the_last_day_is_yesterday_in_the_business_time_zone(now: str, last: str) -> None:
    settings, instant = FROZEN.model_copy(update={"last_day": None}), datetime.fromisoformat(now)
    assert settings.last_complete_day(instant) == date.fromisoformat(last)
    assert list(day_partitions(settings).get_partition_keys(instant))[-1] == last
    assert FROZEN.last_complete_day(datetime(2030, 1, 1, tzinfo=UTC)) == date(2026, 1, 3)


def test_days_are_told_as_ranges() -> None:
    days = [date(2026, 3, 4), *days_between(date(2026, 2, 27), date(2026, 3, 1)), date(2026, 3, 2)]
    assert day_ranges(days) == "2026-02-27 to 2026-03-02, 2026-03-04"
    assert day_ranges([]) == ""


@pytest.mark.parametrize("key", ["c1", "2026-iu.seoul:1_b", "a" * 100])
def test_ids_that_may_be_partition_keys(key: str) -> None:
    assert is_concert_partition_key(key)


@pytest.mark.parametrize("key", ["", "a" * 101, "-c1", "a b", "a/b", "a...[", "a,b", "서울", "a\n"])
def test_ids_that_may_not_be_partition_keys(key: str) -> None:
    assert not is_concert_partition_key(key)
