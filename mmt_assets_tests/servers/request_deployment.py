"""A deployment that takes requests from an emulator, with forecasts that cost nothing; what is asked is judged.

The world is small: a few concerts with two days of orders, and one row of each concert's forecast, so that a run that
forecasts nothing finds what it shows.
"""

import contextlib
import json
import os
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pandas as pd
import psutil

from mmt_assets.assets.messages import REJECTED_KEY
from mmt_assets.contracts import CONCERT_FORECAST
from mmt_assets.forecast_requests import SENSOR_NAME
from mmt_assets.forecast_requests.cursor import RequestCursor
from mmt_assets.forecast_requests.tick import REQUEST_IDS_TAG
from mmt_assets.gcp.pubsub import PubSub
from mmt_assets.gcp.pubsub_setup import DEAD_LETTERS, REQUESTS, set_up
from mmt_assets.job_names import CONCERT_JOB
from mmt_assets.warehouse import DuckDBWarehouse, Fence
from mmt_assets.warehouse.protocol import InsertMissing
from mmt_assets_tests.conftest import Pipeline, concert, order
from mmt_assets_tests.servers.dagster_deployment import Deployment, wait_until

ROOT = Path(__file__).parents[2]
FIRST, LAST = date(2026, 1, 9), date(2026, 1, 10)
RUN_KEY, SENSOR, PARTITION = "dagster/run_key", "dagster/sensor_name", "dagster/partition"
# The shortest that Pub/Sub allows: what a killed process held comes back soon.
ACK_DEADLINE_SECONDS = 10
_ANYTHING = {
    "STRING": "x",
    "INT64": 1,
    "FLOAT64": 1.0,
    "NUMERIC": 1,
    "BOOL": True,
    "DATE": LAST,
    "TIMESTAMP": datetime(2026, 1, 11, tzinfo=UTC),
}


def write_project(folder: Path, concerts: int, runs_at_once: int) -> None:
    """Write a project with everything up to the last day.

    Args:
        folder: Empty folder.
        concerts: How many concerts are on sale.
        runs_at_once: Most runs at work; 0 leaves them in the queue.
    """
    text = (ROOT / "dagster.yaml").read_text()
    limit = f"concurrency:\n  runs:\n    max_concurrent_runs: {runs_at_once}\n"
    (folder / "dagster.yaml").write_text(text.replace("concurrency:\n", limit))
    names = [f"c{number:03}" for number in range(concerts)]
    with contextlib.chdir(folder), dg.DagsterInstance.from_config(str(folder)) as instance:
        pipeline = Pipeline(folder, instance, first_day=FIRST, last_day=LAST)
        orders = [order(f"o{name}", f"{LAST} 03:00:00", concert_id=name) for name in names]
        pipeline.put(concerts=[concert(name) for name in names], ticket_orders=orders)
        pipeline.load(FIRST, LAST)
    row = {c.name: c.allowed[0] if c.allowed else _ANYTHING[c.type] for c in CONCERT_FORECAST.columns}
    rows = pd.DataFrame([row | {"concert_id": name} for name in names])
    with DuckDBWarehouse(pipeline.settings.warehouse_path).open() as session:
        session.write([InsertMissing(CONCERT_FORECAST, rows)], fence=Fence("seed", datetime(2026, 1, 11, tzinfo=UTC)))


@contextmanager
def request_deployment(
    project: Path, folder: Path, pubsub: PubSub, *, ack_deadline_seconds: int = ACK_DEADLINE_SECONDS, **settings: str
) -> Iterator["Requests"]:
    """A deployment in a copy of a project; nothing of it is started yet."""
    shutil.copytree(project, folder, dirs_exist_ok=True)
    (folder / "stops").mkdir()
    set_up(pubsub, ack_deadline_seconds=ack_deadline_seconds)
    given = {
        "MMT_HOME": str(folder / "home"),
        "MMT_SOURCE": str(folder / "source"),
        "MMT_FIRST_DAY": FIRST.isoformat(),
        "MMT_LAST_DAY": LAST.isoformat(),
        "MMT_PROJECT": pubsub.project,
        "MMT_PUBSUB_EMULATOR": str(pubsub.emulator),
    }
    made = Deployment(folder, **{**given, **settings})
    made.module = "mmt_assets_tests.servers.request_definitions"
    made.environment |= {"REQUEST_STOPS": str(folder / "stops"), "PYTHONPATH": str(ROOT)}
    concerts = made.rows(f"SELECT DISTINCT concert_id FROM {CONCERT_FORECAST.table} ORDER BY 1")
    with contextlib.chdir(folder), dg.DagsterInstance.from_config(str(folder)) as instance:
        try:
            yield Requests(made, instance, pubsub, [name for (name,) in concerts])
        finally:
            made.down()
            _end_orphans(folder)


def _end_orphans(folder: Path) -> None:
    """Kill what outlived the processes that started it: they were killed alone, on purpose."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(folder) and process.pid != os.getpid():
                process.kill()


@dataclass
class Requests:
    """A deployment whose requests are published, counted and judged here.

    Attributes:
        made: The deployment.
        instance: Its Dagster instance.
        pubsub: Client beside the deployment's own.
        concerts: Concerts that can be forecast.
        valid: When each request for a concert was published, by concert.
        poison: Ids of messages that can never be done.
        stopped: How often a tick was killed at each point.
    """

    made: Deployment
    instance: dg.DagsterInstance
    pubsub: PubSub
    concerts: list[str]
    valid: dict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    poison: list[str] = field(default_factory=list)
    stopped: Counter[str] = field(default_factory=Counter)

    def ask(self, concert_id: str, count: int = 1) -> None:
        data = json.dumps({"kind": "concert", "concert_id": concert_id}).encode()
        self.pubsub.publish_all(REQUESTS.topic, [(data, {})] * count, timeout=30)
        self.valid[concert_id].append(datetime.now(UTC))

    def spoil(self) -> None:
        self.poison.append(self.pubsub.publish(REQUESTS.topic, b"{spoilt", timeout=30))

    def stop_at(self, point: str, seconds: float = 120) -> None:
        """Wait until a tick stops at a point; it stays there until `go_on`."""
        stop = self.stops / point
        stop.touch()
        wait_until(stop.with_suffix(".reached").exists, seconds, f"a tick at {point}\n{self.made.logs()}")
        self.stopped[point] += 1

    def go_on(self, point: str) -> None:
        for file in (self.stops / point, (self.stops / point).with_suffix(".reached")):
            file.unlink(missing_ok=True)

    @property
    def stops(self) -> Path:
        return self.made.folder / "stops"

    def kill(self, name: str) -> None:
        """SIGKILL daemon or code server alone, not what they started, and start it again."""
        self.made.processes[name].kill()
        self.made.processes[name].wait()
        if name == "code":
            self.made.start_code_server()
        else:
            self.made.start_daemon()

    def run_processes(self) -> dict[str, psutil.Process]:
        """Processes of runs at work, by run."""
        found = dict[str, psutil.Process]()
        at_work = [dg.DagsterRunStatus.STARTED]
        for run in self.instance.get_runs(dg.RunsFilter(statuses=at_work, tags={SENSOR: SENSOR_NAME})):
            told = [entry.dagster_event for entry in self.instance.all_logs(run.run_id) if entry.dagster_event]
            pids = [
                event.engine_event_data.metadata["pid"].value
                for event in told
                if event.is_engine_event and "pid" in event.engine_event_data.metadata
            ]
            with suppress(psutil.NoSuchProcess, IndexError):
                found[run.run_id] = psutil.Process(int(str(pids[0])))
        return found

    def cursor(self) -> RequestCursor:
        states = [s for s in self.instance.all_instigator_state() if s.instigator_name == SENSOR_NAME]
        text = getattr(states[0].instigator_data, "cursor", None) if states else None
        return RequestCursor.model_validate_json(text or "{}")

    def runs(self) -> list[dg.RunRecord]:
        return list(self.instance.get_run_records(dg.RunsFilter(job_name=CONCERT_JOB, tags={SENSOR: SENSOR_NAME})))

    def rejected(self) -> list[str]:
        """Messages of which a rejection was observed."""
        records = self.instance.fetch_observations(REJECTED_KEY, limit=10_000).records
        found = [record.asset_observation for record in records if record.asset_observation]
        return [str(observation.metadata["source_message_id"].value) for observation in found]

    def unsettled(self) -> str:
        """What has no outcome yet; empty when every message has one and every run that was asked for succeeded."""
        cursor, records = self.cursor(), self.runs()
        if cursor.pending or cursor.watched:
            return f"cursor {cursor}"
        if spoilt := set(self.poison) - set(self.rejected()):
            return f"not rejected {spoilt}"
        unfinished = [record.dagster_run.run_id for record in records if not record.dagster_run.is_finished]
        done = [record for record in records if record.dagster_run.status == dg.DagsterRunStatus.SUCCESS]
        keys = {record.dagster_run.tags[RUN_KEY].split(":again")[0] for record in records}
        keys -= {record.dagster_run.tags[RUN_KEY].split(":again")[0] for record in done}
        latest = dict[str, float]()
        for record in done:
            name = record.dagster_run.tags[PARTITION]
            latest[name] = max(latest.get(name, 0.0), record.start_time or 0.0)
        early = [name for name, times in self.valid.items() if latest.get(name, 0.0) <= max(times).timestamp()]
        return f"unfinished {unfinished}, no success {keys}, not yet {early}" if unfinished or keys or early else ""

    def wait_until_settled(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while left := self.unsettled():
            assert time.monotonic() < deadline, f"not settled within {seconds} s: {left}\n{self.made.logs()}"
            time.sleep(0.5)

    def assert_nothing_lost_and_nothing_twice(self) -> None:
        # Longer than the acknowledgement deadline: what anybody still held would come back.
        time.sleep(ACK_DEADLINE_SECONDS + 2)
        self.wait_until_settled(60)
        assert self.pubsub.pull(REQUESTS.subscription, 10, timeout=2) == []

        asked, succeeded, answered = Counter[str](), Counter[str](), Counter[str]()
        for record in self.runs():
            run = record.dagster_run
            # A run that Dagster lost was asked for anew.
            key = run.tags[RUN_KEY].split(":again")[0]
            succeeded[key] += run.status == dg.DagsterRunStatus.SUCCESS
            if run.parent_run_id is None:
                asked[run.tags[RUN_KEY]] += 1
                if key == run.tags[RUN_KEY]:
                    answered.update(run.tags[REQUEST_IDS_TAG].split(" and ")[0].split(", "))
        assert set(asked.values()) == {1}, asked
        assert set(succeeded.values()) == {1}, f"every key has exactly one successful run: {succeeded}"
        assert set(answered.values()) == {1}, "no message was asked for twice"

        assert sorted(self.rejected()) == sorted(self.poison), "one observation for each"
        letters = Counter[str]()

        def are_all_there() -> bool:
            pulled = self.pubsub.pull(DEAD_LETTERS.subscription, 1000, timeout=2)
            self.pubsub.acknowledge(DEAD_LETTERS.subscription, [letter.ack_id for letter in pulled])
            letters.update(letter.attributes["source_message_id"] for letter in pulled)
            return not pulled and set(letters) >= set(self.poison)

        wait_until(are_all_there, 120, "the last dead letter")
        assert sorted(letters) == sorted(self.poison)
        # Only a code server that is killed between a dead letter and its acknowledgement sends it twice.
        assert set(letters.values()) <= {1} or self.stopped["dead_lettered"], "one dead letter for each"
