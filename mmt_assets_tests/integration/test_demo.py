"""What the README tells a newcomer to type, in a folder of its own, as real processes."""

import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from mmt_assets import sample

ROOT = Path(__file__).parents[2]
FIRST, LAST = date(2026, 9, 1), date(2026, 10, 15)


def command(folder: Path, *arguments: str, expect: int = 0) -> str:
    """Run `python -m mmt_assets` in a folder and return what it printed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MMT_", "DAGSTER_"))}
    done = subprocess.run(
        [sys.executable, "-m", "mmt_assets", *arguments],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder in which the demo has run on a directory source."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "dagster.yaml", folder)
    sample.write_source(folder / "bookings", first_day=FIRST, last_day=LAST)
    printed = command(folder, "demo", "--source", "bookings", "--as-of", LAST.isoformat())
    (folder / "demo.log").write_text(printed)
    return folder


def concerts(folder: Path) -> list[str]:
    with duckdb.connect(str(folder / ".mmt" / "warehouse.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "SELECT concert_id FROM forecasts.concert_outlook WHERE as_of_date = ? ORDER BY days_to_show, 1", [LAST]
        ).fetchall()
    return [row[0] for row in rows]


def test_the_demo_shows_its_steps_and_every_active_concert(folder: Path) -> None:
    printed = (folder / "demo.log").read_text()
    for step in ("raw__concerts", "orders_and_refunds", "features__concert_sales", "day_forecasts"):
        assert f"done {step} in" in printed
    assert f"Active concerts as of {LAST}: {len(concerts(folder))} (" in printed
    assert len(concerts(folder)) > 20
    for concert in concerts(folder):
        assert concert in printed
    assert "make ui" in printed


def test_the_demo_derives_the_first_day_from_the_source_and_keeps_its_settings(folder: Path) -> None:
    kept = dict(line.split("=") for line in (folder / ".mmt" / "demo.env").read_text().split())
    assert kept == {
        "MMT_SOURCE": f"'{folder / 'bookings'}'",
        "MMT_FIRST_DAY": f"'{FIRST}'",
        "MMT_LAST_DAY": f"'{LAST}'",
    }


def test_the_demo_writes_the_board_with_changes_since_the_day_before(folder: Path) -> None:
    page = folder / ".mmt" / "board" / "outlook.html"
    assert page.as_uri() in (folder / "demo.log").read_text()
    told = page.read_text(encoding="utf-8")
    assert "changes since 14 Oct 2026" in told
    assert "<h1>Concert outlook</h1>" in told
    printed = command(folder, "board", "--as-of", "2026-10-14")
    assert "concerts as of 2026-10-14" in printed
    assert (folder / ".mmt" / "board" / "outlook-2026-10-14.html").exists()
    assert "no outlook up to 2026-10-01" in command(folder, "board", "--as-of", "2026-10-01", expect=1)


def test_one_concert_is_forecast_from_the_command_line_and_its_seconds_are_told(folder: Path) -> None:
    concert = concerts(folder)[3]
    printed = command(folder, "forecast", concert)
    assert "days to the show" in printed
    for part in ("start", "run", "read", "fit", "write", "worker"):
        assert f"{part} " in printed.splitlines()[-1]
    current = pd.read_parquet(folder / ".mmt" / "exports" / "concert_forecast.parquet")
    assert set(current["concert_id"]) == set(concerts(folder))
    assert current.groupby("concert_id")["run_id"].first().value_counts().min() == 1


def test_a_concert_that_nobody_knows_is_an_error_that_says_so(folder: Path) -> None:
    assert "nobody is not in raw/concerts" in command(folder, "forecast", "nobody", expect=1)
    assert "cannot be a partition" in command(folder, "forecast", "no body", expect=1)


def test_query_reads_and_only_reads(folder: Path) -> None:
    printed = command(folder, "query", "SELECT COUNT(*) AS versions FROM raw.concerts")
    assert "versions" in printed
    assert "1 rows" in printed
    assert "read-only" in command(folder, "query", "DELETE FROM raw.concerts", expect=1)


def test_a_wrong_setting_is_named(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mmt_assets", "query", "SELECT 1"],
        cwd=folder,
        env={**os.environ, "MMT_RELOAD_DAYS": "often"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "MMT_RELOAD_DAYS is 'often'" in done.stdout


def test_a_demo_again_loads_what_is_new_and_another_source_moves_the_first_aside(folder: Path) -> None:
    again = folder.parent / "again"
    shutil.copytree(folder, again, ignore=shutil.ignore_patterns("bookings"))
    (again / "bookings").symlink_to(folder / "bookings")
    other = again / "other"
    sample.write_source(other, first_day=date(2026, 9, 20), last_day=date(2026, 10, 1))
    printed = command(again, "demo", "--source", "other", "--as-of", "2026-10-01")
    assert "was moved to" in printed
    assert "1 of 2: raw and features, 2026-09-20 to 2026-10-01" in printed
    [archive] = (again / ".demo-archive").iterdir()
    assert (archive / ".mmt" / "warehouse.duckdb").exists()
    assert (archive / ".dagster_home").exists()

    printed = command(again, "demo", "--source", "other", "--as-of", "2026-10-01")
    assert "1 of 2: raw and features, 2026-10-01 to 2026-10-01" in printed


def test_a_source_without_its_files_is_an_error_that_names_them(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    (tmp_path / "empty").mkdir()
    assert "has no ticket_orders.parquet" in command(tmp_path, "demo", "--source", "empty", expect=1)
    assert "is not a directory" in command(tmp_path, "demo", "--source", "nowhere", expect=1)
