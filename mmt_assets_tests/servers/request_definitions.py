"""The code location with two changes for tests of requests: concerts cost nothing, and ticks stop where they are told.

A tick stops at a point while the folder of `REQUEST_STOPS` holds a file of its name, and says so by a second one,
NAME.reached. Whoever waits for that may kill what it likes at exactly that point.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from mmt_assets.build import build_definitions
from mmt_assets.forecast_requests.tick import Tick
from mmt_assets.resources.compute import LocalProcess, Outcome
from mmt_assets.settings import Settings
from mmt_assets.worker.job import WorkerJob

# Points of a tick, and the step after which each is.
POINTS = {
    "settled": "_settle",
    "pulled": "_pull",
    "answered": "_answer",
    "dead_lettered": "_publish_dead_letters",
    "acknowledged": "_acknowledge",
}
_LONGEST_STOP_SECONDS = 60.0
# What a worker tells of no work.
_NOTHING: dict[str, Any] = {"seconds": {}, "usage": {}}


class NoWorkForConcerts(LocalProcess):
    """A concert's forecast is nothing to do: what an earlier one wrote stays. A day's is as ever."""

    def run(self, context: dg.AssetExecutionContext, job: WorkerJob) -> Outcome:
        return super().run(context, job) if job.concert_id is None else Outcome([], [_NOTHING], 0.0)


def _stop_at(name: str) -> None:
    stops = os.environ.get("REQUEST_STOPS")
    if not stops or not (file := Path(stops) / name).exists():
        return
    file.with_suffix(".reached").touch()
    deadline = time.monotonic() + _LONGEST_STOP_SECONDS
    while file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def _stopping_after(step: Callable[[Tick], Any], name: str) -> Callable[[Tick], Any]:
    def stopping(tick: Tick) -> Any:
        outcome = step(tick)
        _stop_at(name)
        return outcome

    return stopping


for _name, _step in POINTS.items():
    setattr(Tick, _step, _stopping_after(getattr(Tick, _step), _name))

defs = build_definitions(Settings.from_env(), resources={"compute": NoWorkForConcerts()})
