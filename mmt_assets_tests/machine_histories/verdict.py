"""Judges a history by the cloud's record, Dagster's event log and what its processes noted."""

from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from mmt_assets.resources.vm_sessions import noted_sessions
from mmt_assets_tests.machine_histories.plot import Plot
from mmt_assets_tests.machine_histories.stage import (
    HEARTBEAT_SECONDS,
    OTHERS,
    PRICE_PER_SECOND,
    SPEED,
    STALE_HEARTBEATS,
    Stage,
)

# How long a machine may outlive its run, in the story's seconds.
LONGEST_LEAK_SECONDS = 60.0
# Two clocks, and the moment between an event and its note.
_SLACK_SECONDS = 0.5
_ENDED = (dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED)


@dataclass(frozen=True)
class Life:
    """One boot of a machine, in Unix seconds.

    Attributes:
        machine: Zone and name.
        began: When it was started.
        script_ended: When its startup script had ended; None if it never did, or was cut off.
        down: When it was down; None while it is up.
        gone: When it was not there any more; None while it is.
    """

    machine: str
    began: float
    script_ended: float | None
    down: float | None
    gone: float | None


@dataclass
class Verdict:
    """What came of a history.

    Attributes:
        number: Its number.
        status: How its run ended.
        machines: How many machines it started.
        leak_seconds: Longest time that a machine was up after its run or its work was over, in the story's seconds.
        after_run_seconds: The same after Dagster called the run over.
        problems: What must not have happened.
    """

    number: int
    status: str = ""
    machines: int = 0
    leak_seconds: float = 0.0
    after_run_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def leak_cost(self) -> float:
        """The leak in money."""
        return self.leak_seconds * PRICE_PER_SECOND


def judge(stage: Stage) -> Verdict:
    """Judge a history that is over."""
    with stage.home.instance() as instance:
        return Court(stage, instance).judge()


class Court:
    """Everything that is known of one history."""

    def __init__(self, stage: Stage, instance: dg.DagsterInstance) -> None:
        self.stage = stage
        self.instance = instance
        self.history = stage.cloud.history()
        self.log = stage.home.log()
        self.lives = _lives(self.history)
        records = instance.all_logs(stage.run_id)
        ends = [r.timestamp for r in records if r.dagster_event and r.dagster_event.event_type in _ENDED]
        self.run_ended = ends[0] if ends else None
        deaths = [entry["at"] for entry in self.log if entry["what"] == "killed run"]
        self.run_died = deaths[0] if deaths and deaths[0] < self._over() else None
        self.verdict = Verdict(stage.plot.number)

    def _over(self) -> float:
        return next(entry["at"] for entry in self.log if entry["what"] == "over")

    def judge(self) -> Verdict:
        run = self.instance.get_run_by_id(self.stage.run_id)
        assert run is not None
        self.verdict.status, self.verdict.machines = run.status.value, len(self.lives)
        self._judge_ends()
        self._judge_sensors()
        self._judge_gone()
        self._judge_results(run.status)
        self._judge_others()
        self._judge_status(self.stage.plot, run.status)
        return self.verdict

    def _accuse(self, problem: str) -> None:
        self.verdict.problems.append(problem)

    def _judge_ends(self) -> None:
        """No machine is up long after its run."""
        # While nobody was there to end it, or the cloud did not answer, only the other layers could.
        hindrances = [
            e["at"] for e in self.log if e["what"] in ("started daemon", "started code_server", "outage over")
        ]
        hindrances += [e["at"] for e in self.history if e["kind"] == "fault"]
        for life in self.lives:
            down = life.down if life.down is not None else self._over()
            needless = [at for at in (self.run_ended, self.run_died, life.script_ended) if at is not None]
            if needless:
                leak = (down - max(min(needless), life.began)) * SPEED
                self.verdict.leak_seconds = max(self.verdict.leak_seconds, leak)
            if life.down is None:
                self._accuse(f"{life.machine} is still up at the end")
            if self.run_ended is None:
                continue
            self.verdict.after_run_seconds = max(
                self.verdict.after_run_seconds, (down - max(self.run_ended, life.began)) * SPEED
            )
            free = max([self.run_ended, life.began, *(at for at in hindrances if at < down)])
            needless_seconds = (down - free - self._lag(free, down)) * SPEED
            if needless_seconds > LONGEST_LEAK_SECONDS:
                self._accuse(f"{life.machine} was up {needless_seconds:.0f} s after its run and all hindrances")

    def _lag(self, begin: float, end: float) -> float:
        """Seconds in which this computer had no time for the history."""
        return sum(entry["seconds"] for entry in self.log if entry["what"] == "lag" and begin < entry["at"] < end)

    def _judge_sensors(self) -> None:
        """No sensor ends a machine of a run that lives."""
        for tick in (entry for entry in self.log if entry["what"] == "tick" and "requested" in entry["told"]):
            if self.run_ended is None or self.run_ended > tick["at"] + _SLACK_SECONDS:
                self._accuse(f"{tick['sensor']} ended a machine of a run that was not over: {tick['told']}")
            if "The run is dead" in tick["told"] and self.run_died is None:
                silent = HEARTBEAT_SECONDS * STALE_HEARTBEATS
                if self._lag(tick["began"] - silent, tick["began"]) < silent / 3:
                    self._accuse(f"{tick['sensor']} called a living run dead: {tick['told']}")

    def _judge_gone(self) -> None:
        """Nothing is noted as gone while the cloud still has it."""
        is_named = self.stage.plot.is_named
        for session in noted_sessions(self.instance).values():
            if session.gone_at is None:
                continue
            place, started = f"{session.zone}/{session.machine}", session.started_at.timestamp()
            [life] = [x for x in self.lives if x.machine == place and abs(x.began - started) < _SLACK_SECONDS] or [None]
            ended = (life.down if is_named else life.gone) if life else None
            if life is None:
                self._accuse(f"{session.session_id} is noted, but there was no such machine")
            elif ended is None or session.gone_at.timestamp() < ended - _SLACK_SECONDS / 10:
                self._accuse(f"{session.session_id} was noted as gone by {session.ended_by} while it was there")

    def _judge_results(self, status: dg.DagsterRunStatus) -> None:
        """A success has its result, once; nobody writes for a run that is over."""
        made = self.instance.get_records_for_run(
            self.stage.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
        ).records
        written = [entry["at"] for entry in self.log if entry["what"] == "written"]
        if status == dg.DagsterRunStatus.SUCCESS and (len(made) != 1 or not written):
            self._accuse(f"success with {len(made)} materialisations and {len(written)} writes")
        if len(made) > 1:
            self._accuse(f"{len(made)} materialisations in one run")
        limits = [at for at in (self.run_ended, self.run_died) if at is not None]
        for at in written:
            # A run that was killed is believed for three heartbeats more.
            if limits and at > min(limits) + 3 * HEARTBEAT_SECONDS + _SLACK_SECONDS:
                self._accuse(f"written {at - min(limits):.1f} s after the end of the run")

    def _judge_others(self) -> None:
        """Nobody else's machine is touched."""
        for event in self.history:
            if event["kind"] == "call" and event["instance"] in OTHERS and event["method"] != "get":
                self._accuse(f"{event['method']} of {event['instance']}")
        left = {name for _, name in self.stage.cloud.instances()}
        for name in OTHERS:
            if name not in left:
                self._accuse(f"{name} is not there any more")

    def _judge_status(self, plot: Plot, status: dg.DagsterRunStatus) -> None:
        """Where nothing went wrong, the run ends as its worker did."""
        if plot.faults or plot.events:
            return
        wanted = dg.DagsterRunStatus.SUCCESS if plot.ending == "finishes" else dg.DagsterRunStatus.FAILURE
        if status != wanted:
            self._accuse(f"nothing went wrong, the worker {plot.ending}, and the run is {status.value}")


def _lives(history: list[dict[str, Any]]) -> list[Life]:
    """Every boot of every machine of ours."""
    lives: dict[tuple[str, int], dict[str, Any]] = {}
    boots: dict[str, int] = {}
    for event in history:
        if event.get("instance") in OTHERS or "id" not in event:
            continue
        number = event["id"]
        if event["kind"] == "status" and event["now"] == "PROVISIONING":
            boots[number] = boots.get(number, 0) + 1
            machine = f"{event['zone']}/{event['instance']}"
            lives[number, boots[number]] = {"machine": machine, "began": event["at"]}
        life = lives.get((number, boots.get(number, 0)))
        if life is None:
            continue
        if event["kind"] == "script_ended" and event["code"] >= 0:
            life.setdefault("script_ended", event["at"])
        if event["kind"] == "guest" and event["what"].startswith("dagster/exit"):
            life.setdefault("script_ended", event["at"])
        if event["kind"] == "status" and event["now"] == "TERMINATED":
            life["down"] = event["at"]
        if event["kind"] == "status" and event["now"] is None:
            life["gone"] = event["at"]
    fields = ("script_ended", "down", "gone")
    return [Life(life["machine"], life["began"], *(life.get(name) for name in fields)) for life in lives.values()]
