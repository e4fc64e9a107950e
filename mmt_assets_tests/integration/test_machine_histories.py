"""Random histories of machines: the short form with fixed numbers, the long one, and what the judge must see."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest

from mmt_assets.gcp.machines import Machine
from mmt_assets.resources.vm_sessions import VmSession, note
from mmt_assets.settings import Settings
from mmt_assets_tests.machine_histories.plot import Plot, draw
from mmt_assets_tests.machine_histories.stage import OTHERS, Stage
from mmt_assets_tests.machine_histories.verdict import Court, Verdict
from mmt_assets_tests.servers.dagster_deployment import end_tree

# A clean success, named and Spot machines, faults, and kills of run and daemon are among them; none waits for long.
FIRST_OF_A_FEW = 1159
ROOT = Path(__file__).parents[2]
ZONE, NAME = "europe-west1-b", "mmt-analysis-1"


def play(folder: Path, histories: int, seed: int, parallel: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "mmt_assets_tests.machine_histories", "--histories", str(histories)]
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [*command, "--seed", str(seed), "--parallel", str(parallel)],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        finally:
            end_tree(process)
    lines = (folder / "output").read_text().splitlines()
    assert lines, f"exit code {code}"
    assert code == 0, "\n".join(lines)
    summary = json.loads(lines[-1])
    print(json.dumps(summary, indent=1))  # noqa: T201 - the worst leak is what one wants to know
    return summary


@pytest.mark.timeout(600)
def test_no_machine_leaks_in_a_few_histories(tmp_path: Path) -> None:
    summary = play(tmp_path, 6, FIRST_OF_A_FEW, parallel=6, seconds=500)
    assert summary["histories"] == 6
    # On a busy machine a kill may come before its history's machine is asked for.
    assert summary["machines"] >= 3


@pytest.mark.chaos
def test_no_machine_leaks_in_many_histories(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    histories, seed = int(str(pytestconfig.getoption("histories"))), int(str(pytestconfig.getoption("seed")))
    summary = play(tmp_path, histories, seed, parallel=8, seconds=3500)
    assert summary["histories"] == histories


def test_a_history_is_the_same_whenever_it_is_drawn() -> None:
    assert draw(7) == draw(7)
    drawn = [draw(number) for number in range(200)]
    assert {event.deed for plot in drawn for event in plot.events} == {
        "kill", "terminate", "preempt", "reset", "outage",
    }  # fmt: skip
    assert {e.victim for plot in drawn for e in plot.events if e.deed == "kill"} == {
        "run", "code_server", "daemon", "worker", "machine",
    }  # fmt: skip


class Case:
    """A history that went well, to be falsified: started at 0 s, run over at 20 s, machine gone at 21 s."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.began = datetime.now(UTC)
        self.plot = Plot(1, False, False, 1.0, "finishes", (), ())

        @dg.asset
        def heavy() -> None: ...

        self.run_id = dg.materialize([heavy], instance=instance).run_id
        self.cloud = [self.status(0, "PROVISIONING"), self.status(2, "RUNNING"), self.status(21, "TERMINATED")]
        self.cloud.append(self.status(21.1, None))
        self.log = [self.entry(18, "written"), self.entry(30, "over")]
        settings = Settings.from_env({"MMT_ENV": "gcp", "MMT_FAN_HASH_KEY": "tests"})
        machine = Machine(ZONE, NAME, "RUNNING", {"dagster-run-id": self.run_id}, started_at=self.began)
        self.session = VmSession.of(machine, settings)

    def at(self, seconds: float) -> float:
        return self.began.timestamp() + seconds

    def entry(self, seconds: float, what: str, **facts: Any) -> dict[str, Any]:
        return {"at": self.at(seconds), "what": what, "who": "stage", **facts}

    def status(self, seconds: float, now: str | None) -> dict[str, Any]:
        return {"at": self.at(seconds), "kind": "status", "zone": ZONE, "instance": NAME, "id": "1", "now": now}

    def judge(self) -> Verdict:
        cloud = SimpleNamespace(history=lambda: self.cloud, instances=lambda: {(ZONE, name): {} for name in OTHERS})
        home = SimpleNamespace(log=lambda: self.log)
        stage = SimpleNamespace(plot=self.plot, run_id=self.run_id, cloud=cloud, home=home)
        court = Court(cast("Stage", stage), self.instance)
        court.run_ended = self.at(20)
        return court.judge()


@pytest.fixture
def case() -> Any:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Case(instance)


def test_a_history_that_went_well_is_not_accused(case: Case) -> None:
    note(case.instance, case.session.ended("run", case.began + timedelta(seconds=21.2)))
    verdict = case.judge()
    assert verdict.problems == []
    assert verdict.leak_seconds == pytest.approx(6, abs=0.1), "one second, and one stands for six"
    assert verdict.leak_cost == pytest.approx(6 * 0.000075, rel=0.1)


def test_a_machine_that_outlives_its_run_is_seen(case: Case) -> None:
    case.cloud[-2:] = [case.status(20 + 10.5, "TERMINATED"), case.status(20 + 10.6, None)]
    assert "was up 63 s after its run" in case.judge().problems[0]
    case.log.append(case.entry(25, "started daemon"))
    assert case.judge().problems == [], "nobody was there to end it until five seconds before"
    del case.cloud[-2:]
    assert f"{ZONE}/{NAME} is still up at the end" in case.judge().problems


def test_a_machine_of_a_living_run_that_is_ended_is_seen(case: Case) -> None:
    tick = case.entry(10, "tick", sensor="vm_reaper_sensor", told=f"{ZONE}/{NAME}: requested", began=case.at(9))
    case.log.append(tick)
    assert "of a run that was not over" in case.judge().problems[0]
    tick.update(at=case.at(21), began=case.at(20.5))
    assert case.judge().problems == []
    tick["told"] = f"{ZONE}/{NAME}: The run is dead: its last event is old: requested"
    assert "called a living run dead" in case.judge().problems[0]


def test_a_machine_that_is_noted_as_gone_while_it_is_there_is_seen(case: Case) -> None:
    note(case.instance, case.session.ended("reaper", case.began + timedelta(seconds=20.5)))
    assert "was noted as gone by reaper while it was there" in case.judge().problems[0]


def test_a_result_that_is_lost_or_late_is_seen(case: Case) -> None:
    case.log[0] = case.entry(18, "refused")
    assert "success with 1 materialisations and 0 writes" in case.judge().problems[0]
    case.log[0] = case.entry(29, "written")
    assert "written 9.0 s after the end of the run" in case.judge().problems[0]


def test_a_machine_of_somebody_else_that_is_touched_is_seen(case: Case) -> None:
    name = next(iter(OTHERS))
    case.cloud.append({"at": case.at(5), "kind": "call", "method": "stop", "zone": ZONE, "instance": name})
    assert case.judge().problems == [f"stop of {name}"]


def test_a_quiet_history_must_end_as_its_worker_did(case: Case) -> None:
    case.plot = Plot(1, False, False, 1.0, "fails", (), ())
    assert "nothing went wrong, the worker fails, and the run is SUCCESS" in case.judge().problems
