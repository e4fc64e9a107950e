"""What happens in a history: drawn from its number alone."""

import random
from dataclasses import dataclass
from typing import Literal

from mmt_assets_tests.servers.compute_engine.faults import Call, Fault

Victim = Literal["run", "code_server", "daemon", "worker", "machine"]
Deed = Literal["kill", "terminate", "preempt", "reset", "outage"]
# What a deed waits for: seconds from the start of the run, or something that the cloud records.
Moment = Literal["start", "insert", "RUNNING", "work", "written", "ended", "STOPPING"]
MOMENTS: tuple[Moment, ...] = ("start", "insert", "RUNNING", "work", "written", "ended", "STOPPING")
ENDINGS = ("finishes", "finishes", "finishes", "fails", "exits", "is_killed", "hangs")
_FAULTS: tuple[tuple[Call, Fault], ...] = (
    ("insert", "capacity"),
    ("insert", "capacity_with_details"),
    ("insert", "quota"),
    ("insert", "unavailable"),
    ("insert", "late_unavailable"),
    ("insert", "lost_operation"),
    ("insert", "unknown_operation"),
    ("insert", "operation_failed"),
    ("insert", "slow_boot"),
    ("insert", "no_script"),
    ("start", "capacity"),
    ("start", "lost_operation"),
    ("start", "late_unavailable"),
    ("start", "slow_boot"),
    ("delete", "unavailable"),
    ("delete", "late_unavailable"),
    ("delete", "operation_failed"),
    ("delete", "stuck_operation"),
    ("delete", "forbidden"),
    ("stop", "unavailable"),
    ("stop", "operation_failed"),
    ("stop", "forbidden"),
    ("get", "unavailable"),
    ("get", "too_many"),
    ("aggregatedList", "unavailable"),
    ("operations.get", "unavailable"),
    ("getGuestAttributes", "unavailable"),
    ("setLabels", "unavailable"),
    ("poweroff", "unavailable"),
)


@dataclass(frozen=True)
class Event:
    """One thing that is done to the history.

    Attributes:
        moment: What it waits for.
        delay: Seconds after that.
        deed: What is done.
        victim: To whom, for a kill.
        seconds: How long an outage lasts, or until a killed server is started again.
    """

    moment: Moment
    delay: float
    deed: Deed
    victim: Victim = "run"
    seconds: float = 2.0


@dataclass(frozen=True)
class PlannedFault:
    """What goes wrong with a call, see `faults.Injection`."""

    call: Call
    fault: Fault
    times: int
    seconds: float


@dataclass(frozen=True)
class Plot:
    """A history before it happens.

    Attributes:
        number: Seed.
        is_named: Whether the machine is a named one.
        is_spot: Whether it may be a Spot machine.
        work_seconds: How long its worker works.
        ending: How the worker ends if nothing else ends it.
        faults: Faults of the cloud.
        events: What is done, in no order.
    """

    number: int
    is_named: bool
    is_spot: bool
    work_seconds: float
    ending: str
    faults: tuple[PlannedFault, ...]
    events: tuple[Event, ...]


def draw(number: int) -> Plot:
    """The history of this number."""
    dice = random.Random(number)  # noqa: S311 - no secret
    is_named = dice.random() < 0.25
    is_spot = not is_named and dice.random() < 0.4
    # A named machine is made by no insert and ended by no delete.
    foreign = ("insert", "delete") if is_named else ("start", "stop", "setLabels")
    possible = [pair for pair in _FAULTS if pair[0] not in foreign]
    chosen: list[tuple[Call, Fault]] = [dice.choice(possible) for _ in range(dice.choice((0, 0, 1, 1, 2)))]
    faults = tuple(
        PlannedFault(call, fault, dice.choice((1, 1, 2)), round(dice.uniform(0.5, 4), 1)) for call, fault in chosen
    )
    return Plot(
        number=number,
        is_named=is_named,
        is_spot=is_spot,
        work_seconds=round(dice.uniform(0.2, 4), 1),
        ending=dice.choice(ENDINGS),
        faults=faults,
        events=tuple(_event(dice, is_spot=is_spot) for _ in range(dice.choice((0, 1, 1, 1, 2, 2, 3)))),
    )


def _event(dice: random.Random, *, is_spot: bool) -> Event:
    deeds: tuple[Deed, ...] = ("kill", "kill", "kill", "kill", "terminate", "outage", "reset")
    if is_spot:
        deeds = (*deeds, "preempt", "preempt")
    return Event(
        moment=dice.choice(MOMENTS),
        delay=round(dice.uniform(0, 1.5), 2),
        deed=dice.choice(deeds),
        victim=dice.choice(("run", "run", "code_server", "daemon", "worker", "machine")),
        seconds=round(dice.uniform(0.5, 4), 1),
    )
