"""What was learned is kept: the same forecast from it, learned anew whenever anything differs, and never needed."""

import logging
import os
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from mmt_assets.forecasting import ForecastInputs, ForecastOptions, forecast
from mmt_assets.forecasting.inputs import CONCERT_COLUMNS
from mmt_assets.worker import kept_models
from mmt_assets.worker.kept_models import KEPT, KeptModels

AS_OF = date(2024, 6, 30)
OPTIONS = ForecastOptions(engine="none", origins=4)


def known(capacity: float = 500.0) -> ForecastInputs:
    """Thirty finished concerts and one on sale."""
    concerts, sales = [], []
    for number in range(31):
        show = AS_OF + timedelta(days=10 if number == 30 else -2 - number)
        on_sale = show - timedelta(days=30)
        status = "on_sale" if number == 30 else "completed"
        concerts.append((f"c{number:02d}", "A", "Seoul", "KR", "Hall", capacity, on_sale, show, status, "KRW"))
        days = pd.date_range(on_sale, min(show, AS_OF))
        sales += [(f"c{number:02d}", day, 1 + (number + day.day) % 5, 0) for day in days]
    return ForecastInputs(
        pd.DataFrame(concerts, columns=list(CONCERT_COLUMNS)),
        pd.DataFrame(sales, columns=["concert_id", "sales_date", "tickets_sold", "tickets_refunded"]),
        pd.DataFrame(columns=["artist", "country", "city", "fans_count"]),
    )


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[date]:
    """As-of dates that were really learned for."""
    days: list[date] = []
    real = kept_models.learn_task

    def counted(inputs: ForecastInputs, as_of: date, options: ForecastOptions) -> Any:
        days.append(as_of)
        return real(inputs, as_of, options)

    monkeypatch.setattr(kept_models, "learn_task", counted)
    return days


def models(directory: Path, lock_hash: str = "lock") -> KeptModels:
    return KeptModels(directory, lock_hash, SimpleNamespace(log=logging.getLogger("worker")))  # type: ignore[arg-type]


def test_the_forecast_from_what_was_kept_is_the_same(tmp_path: Path, learned: list[date]) -> None:
    plain = forecast(known(), AS_OF, options=OPTIONS)
    first = forecast(known(), AS_OF, options=OPTIONS, learn=models(tmp_path).learn)
    second = forecast(known(), AS_OF, options=OPTIONS, concert_ids=["c30"], learn=models(tmp_path).learn)
    assert learned == [AS_OF]
    for made in (first, second):
        pd.testing.assert_frame_equal(made.ticket_sales, plain.ticket_sales)
        pd.testing.assert_frame_equal(made.outlook, plain.outlook)


@pytest.mark.parametrize(
    "other",
    [
        lambda directory: models(directory).learn(known(capacity=501.0), AS_OF, OPTIONS),
        lambda directory: models(directory).learn(known(), AS_OF + timedelta(days=1), OPTIONS),
        lambda directory: models(directory).learn(known(), AS_OF, replace(OPTIONS, origins=5)),
        lambda directory: models(directory, lock_hash="other").learn(known(), AS_OF, OPTIONS),
    ],
    ids=["inputs", "day", "options", "libraries"],
)
def test_whatever_differs_is_learned_anew(tmp_path: Path, learned: list[date], other: Callable[[Path], Any]) -> None:
    models(tmp_path).learn(known(), AS_OF, OPTIONS)
    other(tmp_path)
    assert len(learned) == 2
    # Processes change only how long it takes.
    task = models(tmp_path).learn(known(), AS_OF, replace(OPTIONS, processes=3))
    assert len(learned) == 2
    assert task.options.processes == 3


def test_other_code_learns_anew(tmp_path: Path, learned: list[date], monkeypatch: pytest.MonkeyPatch) -> None:
    models(tmp_path).learn(known(), AS_OF, OPTIONS)
    monkeypatch.setattr(kept_models, "_library_hash", lambda: "another")
    models(tmp_path).learn(known(), AS_OF, OPTIONS)
    assert len(learned) == 2


def test_a_broken_file_is_told_and_learned_anew(
    tmp_path: Path, learned: list[date], caplog: pytest.LogCaptureFixture
) -> None:
    models(tmp_path).learn(known(), AS_OF, OPTIONS)
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    models(tmp_path).learn(known(), AS_OF, OPTIONS)
    assert f"{path} cannot be read" in caplog.text
    assert len(learned) == 2
    models(tmp_path).learn(known(), AS_OF, OPTIONS)
    assert len(learned) == 2, "it was written again"


def test_where_nothing_can_be_kept_it_is_told_and_the_forecast_is_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").write_text("in the way")
    task = models(tmp_path / "a file").learn(known(), AS_OF, OPTIONS)
    assert len(task.concerts.ids) == 31
    assert "could not be kept" in caplog.text


def test_nobody_else_can_write_what_is_read_as_code(tmp_path: Path) -> None:
    models(tmp_path / "models").learn(known(), AS_OF, OPTIONS)
    [kept] = (tmp_path / "models").iterdir()
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_only_the_newest_files_stay(tmp_path: Path) -> None:
    for day in range(KEPT + 2):
        models(tmp_path).learn(known(), AS_OF + timedelta(days=day), OPTIONS)
    stayed = sorted(path.name[:10] for path in tmp_path.iterdir())
    assert stayed == [(AS_OF + timedelta(days=day)).isoformat() for day in (KEPT, KEPT + 1)]


def test_what_a_killed_process_left_half_written_goes_in_time(tmp_path: Path) -> None:
    for name, age in ((".old-x.tmp", 7200), (".new-x.tmp", 60)):
        (tmp_path / name).write_bytes(b"half")
        written = time.time() - age
        os.utime(tmp_path / name, (written, written))
    models(tmp_path).learn(known(), AS_OF, OPTIONS)
    assert [path.name for path in tmp_path.glob(".*")] == [".new-x.tmp"]
