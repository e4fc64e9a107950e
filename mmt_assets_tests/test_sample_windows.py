"""The sample world as a source that grows: same days in every window, nothing from the future."""

from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import pytest

from mmt_assets.sample import write_source
from mmt_assets.sample.sales import NEVER, simulate_sales
from mmt_assets.sample.world import EPOCH, day_number, day_start

LAST_DAY = date(2026, 11, 21)
STATIC_CONCERT_COLUMNS = [
    "concert_id", "artist", "city", "country", "venue", "capacity", "on_sale_at", "show_at", "timezone",
]  # fmt: skip


def read(directory: Path, table: str) -> pd.DataFrame:
    files = sorted((directory / table).glob("*.parquet"))
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)


def end_of(day: date) -> pd.Timestamp:
    return pd.Timestamp(datetime.combine(day, time(15), UTC))


def on_day(frame: pd.DataFrame, column: str, day: date) -> pd.DataFrame:
    """Rows of one business day, in their order; rows without a readable time belong to none."""
    instants = pd.to_datetime(frame[column], format="%Y-%m-%dT%H:%M:%SZ", utc=True, errors="coerce")
    rows = frame[(instants >= end_of(day) - timedelta(days=1)) & (instants < end_of(day))]
    return rows.reset_index(drop=True)


def contents(directory: Path) -> dict[str, bytes]:
    return {str(file.relative_to(directory)): file.read_bytes() for file in sorted(directory.rglob("*.*"))}


def identities(directory: Path) -> dict[str, tuple[int, int]]:
    return {
        str(file.relative_to(directory)): (file.stat().st_ino, file.stat().st_mtime_ns)
        for file in directory.rglob("*.parquet")
    }


def write_in_process(directory: Path, last_day: date) -> int:
    return write_source(directory, last_day=last_day, first_day=date(2026, 9, 1)).ticket_orders_count


def test_two_directories_of_one_window_hold_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_source(tmp_path / name, last_day=LAST_DAY, first_day=date(2026, 9, 5))
        simulate_sales.cache_clear()
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_a_day_holds_the_same_rows_in_every_window(tmp_path: Path) -> None:
    windows = [
        (date(2026, 8, 1), date(2026, 11, 21)),
        (date(2026, 9, 10), date(2026, 9, 20)),
        (date(2026, 9, 12), date(2027, 1, 15)),
        (date(2026, 9, 1), date(2026, 9, 15)),
    ]
    directories = []
    for first_day, last_day in windows:
        directories.append(tmp_path / f"{first_day}-{last_day}")
        write_source(directories[-1], first_day=first_day, last_day=last_day)
    for day in (date(2026, 9, 12), date(2026, 9, 14), date(2026, 9, 15)):
        orders = [on_day(read(directory, "ticket_orders"), "ordered_at", day) for directory in directories]
        makes = [on_day(read(directory, "makes"), "made_at", day) for directory in directories]
        assert len(orders[0]) > 50
        assert len(makes[0]) > 100
        for (_, last_day), other_orders, other_makes in zip(windows, orders, makes, strict=True):
            pd.testing.assert_frame_equal(other_makes, makes[0])
            static = ["order_id", "concert_id", "ordered_at", "quantity", "unit_price", "currency"]
            pd.testing.assert_frame_equal(other_orders[static], orders[0][static])
            # The last window knows most: a refund shows elsewhere once that window has reached it.
            latest = orders[2]
            reached = (latest["status"] == "refunded") & (latest["status_at"] < end_of(last_day))
            assert (other_orders["status"] == "refunded").equals(reached)
            assert other_orders["status_at"].equals(latest["status_at"].where(reached))


def test_dirty_rows_without_a_day_are_the_same_in_every_window(tmp_path: Path) -> None:
    write_source(tmp_path / "short", first_day=date(2026, 9, 1), last_day=date(2026, 10, 20))
    write_source(tmp_path / "long", first_day=date(2026, 8, 1), last_day=date(2026, 11, 21))
    september = [pd.read_parquet(tmp_path / name / "ticket_orders" / "2026-09.parquet") for name in ("short", "long")]
    odd = [frame[~frame["ordered_at"].str.startswith("2026-0")]["order_id"].tolist() for frame in september]
    assert len(odd[0]) > 5
    assert odd[0] == odd[1]


def test_static_facts_of_concerts_never_change(tmp_path: Path) -> None:
    write_source(tmp_path / "early", first_day=date(2026, 1, 1), last_day=date(2026, 3, 1))
    write_source(tmp_path / "late", first_day=date(2026, 2, 1), last_day=date(2026, 9, 1))
    early, late = (read(tmp_path / name, "concerts")[STATIC_CONCERT_COLUMNS] for name in ("early", "late"))
    both = early.merge(late[["concert_id"]])
    assert len(both) > 30
    pd.testing.assert_frame_equal(both, early[["concert_id"]].merge(late)[STATIC_CONCERT_COLUMNS])


def test_growing_day_by_day_gives_the_same_bytes_as_one_call(tmp_path: Path) -> None:
    first_day = date(2026, 7, 1)
    for last_day in (date(2026, 9, 28), date(2026, 9, 29), date(2026, 9, 30), date(2026, 10, 1), LAST_DAY):
        grown = write_source(tmp_path / "grown", first_day=first_day, last_day=last_day)
        at_once = write_source(tmp_path / str(last_day), first_day=first_day, last_day=last_day)
        assert grown == at_once
        assert contents(tmp_path / "grown") == contents(tmp_path / str(last_day))


def test_the_second_day_of_a_month_is_added_to_the_first(tmp_path: Path) -> None:
    for month in range(1, 9):  # on some of these days no order is refunded, on others some are
        first, second = date(2026, month, 1), date(2026, month, 2)
        for last_day in (first, second):
            write_source(tmp_path / "grown", last_day=last_day, first_day=first)
        write_source(tmp_path / "fresh", last_day=second, first_day=first)
        assert contents(tmp_path / "grown") == contents(tmp_path / "fresh")


def test_going_back_in_time_forgets_what_came_later(tmp_path: Path) -> None:
    write_source(tmp_path / "back", last_day=LAST_DAY, first_day=date(2026, 8, 1))
    write_source(tmp_path / "back", last_day=date(2026, 9, 10), first_day=date(2026, 8, 1))
    write_source(tmp_path / "fresh", last_day=date(2026, 9, 10), first_day=date(2026, 8, 1))
    assert contents(tmp_path / "back") == contents(tmp_path / "fresh")


def test_the_default_window_drops_the_oldest_month(tmp_path: Path) -> None:
    december = write_source(tmp_path, last_day=date(2024, 7, 31))
    assert december.first_day == date(2023, 1, 1)
    january = write_source(tmp_path, last_day=date(2024, 8, 1))
    assert january.first_day == date(2023, 2, 1)
    assert not (tmp_path / "makes" / "2023-01.parquet").exists()
    assert not (tmp_path / "ticket_orders" / "2023-01.parquet").exists()


def test_files_whose_content_stays_are_not_touched(tmp_path: Path) -> None:
    first_day = date(2026, 5, 1)
    write_source(tmp_path, last_day=date(2026, 11, 20), first_day=first_day)
    before, bytes_before = identities(tmp_path), contents(tmp_path)
    write_source(tmp_path, last_day=date(2026, 11, 20), first_day=first_day)
    assert identities(tmp_path) == before
    write_source(tmp_path, last_day=LAST_DAY, first_day=first_day)
    after, bytes_after = identities(tmp_path), contents(tmp_path)
    for name, identity in before.items():
        assert (after[name] == identity) == (bytes_after[name] == bytes_before[name]), name
    assert after["makes/2026-10.parquet"] == before["makes/2026-10.parquet"]
    assert after["makes/2026-11.parquet"] != before["makes/2026-11.parquet"]
    assert any(after[name] == before[name] for name in before if name.startswith("ticket_orders"))


def test_nothing_after_the_last_day_is_known(tmp_path: Path) -> None:
    write_source(tmp_path, last_day=LAST_DAY, first_day=date(2026, 6, 1))
    orders, makes, concerts = (read(tmp_path, table) for table in ("ticket_orders", "makes", "concerts"))
    end = end_of(LAST_DAY)
    ordered_at = pd.to_datetime(orders["ordered_at"], format="%Y-%m-%dT%H:%M:%SZ", utc=True, errors="coerce")
    plausible = ordered_at[ordered_at.dt.year.between(2000, 2500)]
    made_at = pd.to_datetime(makes["made_at"], format="%Y-%m-%dT%H:%M:%SZ", utc=True, errors="coerce").dropna()
    for instants in (plausible, made_at, orders["status_at"].dropna(), concerts["status_at"].dropna()):
        assert end - timedelta(days=4) < instants.max() < end
    assert orders.loc[orders["status"] != "refunded", "status_at"].isna().all()
    assert orders.loc[orders["status"] == "refunded", "status_at"].notna().all()
    ahead = concerts[concerts["show_at"] > end]
    assert set(ahead["status"]) >= {"on_sale", "announced"}
    assert "completed" not in set(ahead["status"])
    not_open = ahead[ahead["on_sale_at"] > end]
    assert len(not_open) > 0
    assert set(not_open["status"]) == {"announced"}
    assert not orders["concert_id"].isin(not_open["concert_id"]).any()


@pytest.mark.parametrize(
    ("status", "before"), [("announced", None), ("completed", "on_sale"), ("cancelled", "on_sale")]
)
def test_a_concert_changes_status_on_its_day_and_not_before(tmp_path: Path, status: str, before: str | None) -> None:
    write_source(tmp_path / "now", last_day=LAST_DAY, first_day=date(2026, 2, 1))
    now = read(tmp_path / "now", "concerts")
    changed = now[now["status"] == status].sort_values("status_at").iloc[-1]
    day = (changed["status_at"] + timedelta(hours=9)).date()
    for last_day, expected in ((day - timedelta(days=1), before), (day, status)):
        write_source(tmp_path / "then", last_day=last_day, first_day=day - timedelta(days=1))
        then = read(tmp_path / "then", "concerts").set_index("concert_id")["status"]
        assert then.get(changed["concert_id"]) == expected


def test_an_order_is_refunded_only_once_its_refund_is_reached(tmp_path: Path) -> None:
    write_source(tmp_path / "later", last_day=LAST_DAY, first_day=date(2026, 9, 1))
    later = read(tmp_path / "later", "ticket_orders")
    refunded = later[(later["status"] == "refunded") & (later["status_at"] > end_of(date(2026, 10, 5)))].iloc[0]
    day = (refunded["status_at"] + timedelta(hours=9)).date()
    for last_day, status in ((day - timedelta(days=1), "paid"), (day, "refunded")):
        write_source(tmp_path / "window", last_day=last_day, first_day=date(2026, 9, 1))
        orders = read(tmp_path / "window", "ticket_orders").set_index("order_id")
        assert orders.loc[[refunded["order_id"]], "status"].tolist()[0] == status


def test_orders_of_a_concert_end_with_its_sales_and_refunds_follow_their_order(tmp_path: Path) -> None:
    write_source(tmp_path, last_day=LAST_DAY, first_day=date(2026, 6, 1))
    orders, concerts = read(tmp_path, "ticket_orders"), read(tmp_path, "concerts")
    real = orders[orders["order_id"].str.startswith("C", na=False)].merge(concerts, on="concert_id")
    ordered_at = pd.to_datetime(real["ordered_at"], format="%Y-%m-%dT%H:%M:%SZ", utc=True)
    assert (ordered_at < real["show_at"]).all()
    assert (ordered_at >= real["on_sale_at"])[real["on_sale_at"].notna()].all()
    refunded = real["status_x"] == "refunded"
    assert (real["status_at_x"] > ordered_at)[refunded].all()


@pytest.mark.parametrize("last_day", [date(2023, 1, 1), date(2031, 2, 28), date(2120, 6, 15)])
def test_any_day_from_the_epoch_on_can_be_written(tmp_path: Path, last_day: date) -> None:
    window = write_source(tmp_path, last_day=last_day, first_day=last_day)
    assert (window.first_day, window.last_day) == (last_day, last_day)
    assert window.ticket_orders_count > 30
    assert window.makes_count > 100
    assert window.concerts_count >= 30


def test_two_calls_at_once_leave_one_complete_directory(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        counts = list(pool.map(write_in_process, [tmp_path / "shared"] * 4, [LAST_DAY] * 4))
    alone = write_in_process(tmp_path / "alone", LAST_DAY)
    assert counts == [alone] * 4
    assert contents(tmp_path / "shared") == contents(tmp_path / "alone")


def test_a_directory_with_other_parquet_files_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "ticket_orders").mkdir()
    own = tmp_path / "ticket_orders" / "2019-01.parquet"
    pd.DataFrame({"order_id": ["mine"]}).to_parquet(own)
    before = own.read_bytes()
    with pytest.raises(FileExistsError, match="2019-01"):
        write_source(tmp_path, last_day=LAST_DAY)
    assert contents(tmp_path) == {"ticket_orders/2019-01.parquet": before}


@pytest.mark.parametrize(
    ("first_day", "last_day"),
    [(EPOCH - timedelta(days=1), LAST_DAY), (LAST_DAY, LAST_DAY - timedelta(days=1)), (None, date(2022, 5, 1))],
)
def test_a_window_that_does_not_exist_is_refused(tmp_path: Path, first_day: date | None, last_day: date) -> None:
    with pytest.raises(ValueError, match="2023-01-01"):
        write_source(tmp_path, last_day=last_day, first_day=first_day)
    assert list(tmp_path.iterdir()) == []


def test_business_days_begin_at_midnight_in_seoul() -> None:
    start = pd.Timestamp(day_start(day_number(LAST_DAY)), unit="s", tz="Asia/Seoul")
    assert start == pd.Timestamp("2026-11-21", tz="Asia/Seoul")
    assert day_start(day_number(date.max)) < NEVER
