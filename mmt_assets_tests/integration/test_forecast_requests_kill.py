"""Requests under a real daemon, code server and emulator, which are killed at named points and at random."""

import random
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from mmt_assets.gcp.pubsub import PubSub
from mmt_assets_tests.servers.dagster_deployment import wait_until
from mmt_assets_tests.servers.request_definitions import POINTS
from mmt_assets_tests.servers.request_deployment import RUN_KEY, request_deployment, write_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything up to the last day was made; tests take copies."""
    folder = tmp_path_factory.mktemp("requests")
    write_project(folder, concerts=20, runs_at_once=3)
    return folder


def test_kills_between_any_two_steps_lose_nothing_and_run_nothing_twice(
    project: Path, tmp_path: Path, pubsub: PubSub
) -> None:
    with request_deployment(project, tmp_path, pubsub) as office:
        for concert_id in office.concerts[:2]:
            office.ask(concert_id, 20)
        office.spoil()
        office.made.up()
        # Nothing of this tick is stored: its messages are in the code server's hand alone, then in nobody's.
        office.stop_at("acknowledged")
        office.kill("daemon")
        office.go_on("acknowledged")
        office.stop_at("answered")
        office.kill("code")
        office.go_on("answered")
        killed = wait_until(office.run_processes, 90, "a run at work\n" + office.made.logs())
        next(iter(killed.values())).kill()
        office.ask(office.concerts[0])
        office.wait_until_settled(180)
        office.assert_nothing_lost_and_nothing_twice()


@pytest.mark.chaos
def test_minutes_of_kills_at_random_and_at_every_point(project: Path, tmp_path: Path, pubsub: PubSub) -> None:
    seed = random.randrange(10_000)  # noqa: S311 - no secret
    print(f"seed {seed}")  # noqa: T201 - a failure is looked at with it
    chance = random.Random(seed)  # noqa: S311 - no secret
    kills, points, hurt = Counter[str](), list(POINTS), set[str]()
    with request_deployment(project, tmp_path, pubsub) as office:
        office.made.up()
        end, next_kill, published = time.monotonic() + 300, time.monotonic() + 15, 0
        while time.monotonic() < end:
            count = chance.randint(1, 12)
            office.ask(chance.choice(office.concerts), count)
            published += count
            if chance.random() < 0.05:
                office.spoil()
            time.sleep(chance.uniform(0.1, 0.8))
            # A run has two retries: each is killed once.
            for run_id, process in office.run_processes().items() if chance.random() < 0.03 else ():
                root = office.instance.get_run_by_id(run_id)
                key = root.tags[RUN_KEY] if root else run_id
                if key not in hurt:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
                    hurt.add(key)
                    kills["run"] += 1
                    break
            if time.monotonic() > next_kill:
                victim = chance.choice(["daemon", "daemon", "code"])
                if chance.random() < 0.5:
                    point = points[sum(office.stopped.values()) % len(points)]
                    office.stop_at(point)
                    office.kill(victim)
                    office.go_on(point)
                else:
                    office.kill(victim)
                kills[victim] += 1
                next_kill = time.monotonic() + chance.uniform(12, 20)
        office.wait_until_settled(900)
        print(  # noqa: T201 - what the run was like
            f"published {published} and {len(office.poison)} spoilt for {len(office.valid)} concerts; "
            f"kills {dict(kills)}, at points {dict(office.stopped)}; {len(office.runs())} runs"
        )
        assert set(office.stopped) == set(points)
        office.assert_nothing_lost_and_nothing_twice()
