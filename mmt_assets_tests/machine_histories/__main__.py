"""Entry point: `python -m mmt_assets_tests.machine_histories --histories 200 --seed 1`."""

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from pathlib import Path

import dagster as dg

from mmt_assets_tests.machine_histories.plot import draw
from mmt_assets_tests.machine_histories.stage import DEADLINE_SECONDS, SPEED, Site, Stage, write_instance
from mmt_assets_tests.machine_histories.verdict import LONGEST_LEAK_SECONDS, Verdict, judge
from mmt_assets_tests.servers.compute_engine.fixture import running_server
from mmt_assets_tests.servers.compute_engine.image import build_image
from mmt_assets_tests.servers.gcs import running_gcs

_SETTLE_SECONDS = 60.0


def play_all(site: Site, numbers: list[int], parallel: int) -> list[Verdict]:
    """Play histories, some at a time, each in a process of its own; prints each verdict."""
    waiting, playing, verdicts = list(reversed(numbers)), dict[int, tuple[int, float]](), list[Verdict]()
    while waiting or playing:
        while waiting and len(playing) < parallel:
            number = waiting.pop()
            playing[_fork_history(site, number)] = (number, time.monotonic())
        time.sleep(0.1)
        for pid, (number, began) in list(playing.items()):
            has_ended = os.waitpid(pid, os.WNOHANG)[0] != 0
            if not has_ended and time.monotonic() - began > DEADLINE_SECONDS + _SETTLE_SECONDS:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                has_ended = True
            if has_ended:
                del playing[pid]
                verdicts.append(_read(site, number))
                _print(verdicts[-1], len(verdicts), len(numbers))
    return verdicts


def _fork_history(site: Site, number: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        stage = Stage(site, draw(number))
        try:
            stage.play()
            verdict = judge(stage)
        finally:
            stage.cloud.end()
        (site.folder / f"verdict-{number}.json").write_text(json.dumps(asdict(verdict)))
        code = 0
    except BaseException:  # noqa: BLE001 - a fork must never come back into its parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _read(site: Site, number: int) -> Verdict:
    path = site.folder / f"verdict-{number}.json"
    if not path.exists():
        return Verdict(number, "?", problems=["the history broke off: see its folder with --keep"])
    return Verdict(**json.loads(path.read_text()))


def _print(verdict: Verdict, done: int, of: int) -> None:
    line = (
        f"{done}/{of} history {verdict.number}: {verdict.status}, {verdict.machines} machines, "
        f"longest leak {verdict.leak_seconds:.0f} s"
    )
    print("; ".join([line, *verdict.problems]), flush=True)  # noqa: T201
    if verdict.problems:
        print(f"    {draw(verdict.number)}", flush=True)  # noqa: T201


def _summary(verdicts: list[Verdict], seconds: float) -> dict[str, object]:
    worst = max(verdicts, key=lambda verdict: verdict.leak_seconds)
    after_run = max(verdict.after_run_seconds for verdict in verdicts)
    statuses = sorted({verdict.status for verdict in verdicts})
    problems = {str(verdict.number): verdict.problems for verdict in verdicts if verdict.problems}
    if sum(verdict.machines > 0 for verdict in verdicts) * 2 < len(verdicts):
        # Nothing can leak where nothing starts: then something is wrong with the servers.
        problems["all"] = ["fewer than half of the histories started a machine"]
    return {
        "histories": len(verdicts),
        "machines": sum(verdict.machines for verdict in verdicts),
        "statuses": {status: sum(verdict.status == status for verdict in verdicts) for status in statuses},
        "worst_leak_minutes": round(worst.leak_seconds / 60, 2),
        "worst_leak_usd": round(worst.leak_cost, 5),
        "worst_history": worst.number,
        "worst_minutes_after_run_end": round(after_run / 60, 2),
        "allowed_minutes_after_run_end": LONGEST_LEAK_SECONDS / 60,
        "story_seconds_per_second": SPEED,
        "seconds": round(seconds, 1),
        "problems": problems,
    }


def main() -> int:
    """Play the histories; 1 when something happened that must not."""
    parser = argparse.ArgumentParser(prog="python -m mmt_assets_tests.machine_histories", description=__doc__)
    parser.add_argument("--histories", type=int, default=20, help="how many (default 20)")
    parser.add_argument("--seed", type=int, default=1, help="number of the first (default 1)")
    parser.add_argument("--parallel", type=int, default=8, help="how many at a time (default 8)")
    parser.add_argument("--keep", type=Path, help="folder to keep everything in, for a look at a history")
    arguments = parser.parse_args()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        kept = arguments.keep or stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        folder = Path(kept).absolute()
        (folder / "compute-engine").mkdir(parents=True)
        gcs = stack.enter_context(running_gcs(folder))
        gcs.bucket("histories")
        endpoint = stack.enter_context(running_server(folder / "compute-engine"))
        write_instance(folder / "empty")
        # Several processes that initialise one at the same moment can fail: it is done once, and copied.
        with dg.DagsterInstance.from_config(str(folder / "empty")) as instance:
            instance.get_runs(limit=1)
        site = Site(endpoint, gcs.endpoint, build_image(folder / "image"), folder / "empty", folder)
        numbers = list(range(arguments.seed, arguments.seed + arguments.histories))
        verdicts = play_all(site, numbers, arguments.parallel)
    summary = _summary(verdicts, time.monotonic() - began)
    print(json.dumps(summary))  # noqa: T201
    return 1 if summary["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
