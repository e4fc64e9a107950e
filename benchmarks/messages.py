"""What requests by message cost: python -m benchmarks.messages --json.

Google's Pub/Sub emulator, a daemon, a code server and run workers in processes of their own, with the settings that
production has; only the forecasts themselves cost nothing, and the runs of the burst stay in the queue. Measured are:

- burst: many requests for few concerts at once: until every one is answered by a run in the queue, until Pub/Sub holds
  none of them; the longest tick, the largest cursor, the memory of daemon and code server;
- latency: single requests at random moments, from the publisher's answer to the run's row and to its start.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import psutil

from mmt_assets.assets.messages import REQUESTS_KEY
from mmt_assets.gcp.pubsub import PubSub
from mmt_assets.gcp.pubsub_setup import ACK_DEADLINE_SECONDS, REQUESTS
from mmt_assets_tests.servers.dagster_deployment import wait_until
from mmt_assets_tests.servers.pubsub import PubSubEmulator, emulator_jar
from mmt_assets_tests.servers.request_deployment import Requests, request_deployment, write_project

_PUBLISHED_AT_ONCE = 1000
_LONGEST_SECONDS = 1800
_MEGABYTE = 1024 * 1024


@contextmanager
def deployment(concerts: int, runs_at_once: int) -> Iterator[Requests]:
    """A deployment at work, with an emulator of its own."""
    jar = emulator_jar()
    if jar is None:
        raise SystemExit("the Pub/Sub emulator is not installed: see mmt_assets_tests/servers/pubsub.py")
    with tempfile.TemporaryDirectory() as directory:
        project, folder = Path(directory, "project"), Path(directory, "deployment")
        project.mkdir()
        write_project(project, concerts, runs_at_once)
        emulator = PubSubEmulator(jar, Path(directory))
        emulator.start()
        try:
            client = PubSub("benchmark-project", emulator=emulator.address)
            with client, request_deployment(project, folder, client, ack_deadline_seconds=ACK_DEADLINE_SECONDS) as made:
                made.made.up()
                # The first tick of all pays for imports and connections.
                made.ask(made.concerts[0])
                wait_until(lambda: not made.cursor().pending and made.runs(), 120, "the first request's run")
                yield made
        finally:
            emulator.kill()


@dataclass
class Watch:
    """What is looked at all the time.

    Attributes:
        cursor_bytes: Largest cursor.
        memory_mb: Most memory, by process.
    """

    made: Requests
    cursor_bytes: int = 0
    memory_mb: dict[str, float] = field(default_factory=dict)

    def look(self) -> None:
        """Look once."""
        self.cursor_bytes = max(self.cursor_bytes, len(self.made.cursor().dump()))
        for name, process in self.made.made.processes.items():
            used = psutil.Process(process.pid).memory_info().rss / _MEGABYTE
            self.memory_mb[name] = max(self.memory_mb.get(name, 0.0), round(used, 1))


def observed(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    """What the ticks that had something to do told, oldest first."""
    records = instance.fetch_observations(REQUESTS_KEY, limit=10_000, ascending=True).records
    return [
        {name: value.value for name, value in record.asset_observation.metadata.items()}
        for record in records
        if record.asset_observation
    ]


def measure_burst(messages: int, concerts: int) -> dict[str, Any]:
    """Publish all at once and watch."""
    with deployment(concerts, runs_at_once=0) as made:
        watch = Watch(made)
        watch.look()
        before, known = dict(watch.memory_mb), len(observed(made.instance))
        order = [made.concerts[number % concerts] for number in range(messages)]
        random.Random(1).shuffle(order)  # noqa: S311 - no secret
        data = [(json.dumps({"kind": "concert", "concert_id": name}).encode(), {}) for name in order]
        for first in range(0, messages, _PUBLISHED_AT_ONCE):
            made.pubsub.publish_all(REQUESTS.topic, data[first : first + _PUBLISHED_AT_ONCE], timeout=60)
        published = time.monotonic()
        answered_after = drained_after = 0.0
        while not drained_after:
            if time.monotonic() - published > _LONGEST_SECONDS:
                raise SystemExit(f"not drained: {observed(made.instance)[-1]}\n{made.made.logs()}")
            watch.look()
            ticks = observed(made.instance)[known:]
            done = sum(tick["launched"] + tick["joined"] for tick in ticks)
            if not answered_after and done >= messages and not made.cursor().pending:
                answered_after = time.monotonic() - published
            if sum(tick["acknowledged"] for tick in ticks) >= messages:
                drained_after = time.monotonic() - published
            time.sleep(0.5)
        ticks = observed(made.instance)[known:]
        return {
            "messages": messages,
            "concerts": concerts,
            "runs": len(made.runs()),
            "all_answered_by_queued_runs_seconds": round(answered_after or drained_after, 1),
            "backlog_zero_seconds": round(drained_after, 1),
            "ticks": len(ticks),
            "longest_tick_seconds": max(tick["tick_seconds"] for tick in ticks),
            "largest_cursor_bytes": watch.cursor_bytes,
            "left_with_pubsub": len(made.pubsub.pull(REQUESTS.subscription, 1000, timeout=2)),
            "memory_mb_before": before,
            "memory_mb_most": watch.memory_mb,
        }


def measure_latency(requests: int) -> dict[str, Any]:
    """Publish one request after the other, for a concert each."""
    chance = random.Random(2)  # noqa: S311 - no secret
    with deployment(requests + 1, runs_at_once=10) as made:
        to_row, to_start = list[float](), list[float]()
        for concert_id in made.concerts[1:]:
            time.sleep(chance.uniform(3.0, 9.0))
            made.ask(concert_id)
            published = made.valid[concert_id][0].timestamp()
            started = wait_until(lambda concert_id=concert_id: _started(made, concert_id), 180, f"run of {concert_id}")
            to_row.append(started.create_timestamp.timestamp() - published)
            to_start.append(float(started.start_time) - published)
        return {
            "requests": requests,
            "interval_seconds": made.made.settings.request_interval_seconds,
            "to_run_row_seconds": _spread(to_row),
            "to_run_start_seconds": _spread(to_start),
        }


def _started(made: Requests, concert_id: str) -> dg.RunRecord | None:
    found = made.instance.get_run_records(dg.RunsFilter(tags={"dagster/partition": concert_id}))
    return next((record for record in found if record.start_time), None)


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 1), "most": round(max(values), 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000, help="messages of the burst")
    parser.add_argument("--concerts", type=int, default=200, help="concerts of the burst")
    parser.add_argument("--requests", type=int, default=20, help="single requests for the latency")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    arguments = parser.parse_args()
    results = {
        "burst": measure_burst(arguments.messages, arguments.concerts),
        "latency": measure_latency(arguments.requests),
        "load_average": round(psutil.getloadavg()[0], 1),
    }
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    for name, figures in results.items():
        print(f"{name}: {figures}")


if __name__ == "__main__":
    main()
