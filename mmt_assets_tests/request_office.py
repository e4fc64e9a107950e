"""The daemon's part in the tests of the request sensor: it stores what a tick returns and makes the runs."""

import json
import logging
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from mmt_assets.assets.catalog import asset_key
from mmt_assets.assets.messages import REJECTED_KEY
from mmt_assets.contracts import CONCERTS as CONCERT_VERSIONS
from mmt_assets.contracts import FEATURE_TABLES, MAKES, TICKET_ORDERS, TICKET_REFUNDS
from mmt_assets.forecast_requests import SENSOR_NAME
from mmt_assets.forecast_requests.cursor import RequestCursor
from mmt_assets.forecast_requests.hand import Hand
from mmt_assets.forecast_requests.report import TickReport
from mmt_assets.forecast_requests.tick import Tick
from mmt_assets.gcp.pubsub import Message, PubSub
from mmt_assets.gcp.pubsub_setup import DEAD_LETTERS, REQUESTS
from mmt_assets.partitions import CONCERTS
from mmt_assets.resources import DuckDBFile
from mmt_assets.settings import Settings
from mmt_assets_tests.conftest import Pipeline

RUN_KEY, PARTITION = "dagster/run_key", "dagster/partition"
_LOCATION = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=1, location_name="mmt_assets")
FIRST, LAST = date(2026, 1, 9), date(2026, 1, 10)


class Office:
    """Ticks, and the daemon's part between them: it stores what a tick returns and makes the runs.

    Attributes:
        cursor: Cursor as the daemon has it.
        hand: What the process holds; a new one is a process that was started again.
        made: Run requests that became runs, in order.
    """

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, pubsub: PubSub) -> None:
        self.settings, self.instance, self.pubsub = settings, instance, pubsub
        self.cursor: str | None = None
        self.hand = Hand()
        self.made: list[dg.RunRequest] = []
        self.message = ""

    def evaluate(self, now: datetime | None = None) -> tuple[Tick, dg.SensorResult]:
        tick = Tick(
            instance=self.instance,
            settings=self.settings,
            warehouse=DuckDBFile(path=str(self.settings.warehouse_path)),
            pubsub=self.pubsub,
            hand=self.hand,
            cursor=self.cursor,
            log=logging.getLogger("tick"),
            now=now,
        )
        return tick, tick.evaluate()

    def apply(self, result: dg.SensorResult, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED) -> None:
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        for request in result.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(str(CONCERTS.name), list(request.partition_keys))
        self.cursor = result.cursor
        for request in result.run_requests or []:
            tags = {**request.tags, RUN_KEY: str(request.run_key), "dagster/sensor_name": SENSOR_NAME}
            if request.partition_key:
                tags[PARTITION] = request.partition_key
            if not self.instance.get_runs(dg.RunsFilter(tags={RUN_KEY: str(request.run_key)})):
                job = str(request.job_name)
                origin = RemoteJobOrigin(RemoteRepositoryOrigin(_LOCATION, "repository"), job)
                run = dg.DagsterRun(job_name=job, tags=tags, status=status, remote_job_origin=origin)
                self.instance.add_run(run)
                self.made.append(request)

    def tick(self, now: datetime | None = None, **applied: Any) -> TickReport:
        tick, result = self.evaluate(now)
        self.apply(result, **applied)
        self.message = str(result.skip_reason.skip_message) if result.skip_reason else tick.report.sentence()
        return tick.report

    def ask(self, **request: Any) -> str:
        return self.publish(json.dumps(request).encode())

    def publish(self, data: bytes) -> str:
        return self.pubsub.publish(REQUESTS.topic, data, timeout=30)

    def dead_letters(self) -> list[Message]:
        return self.pubsub.pull(DEAD_LETTERS.subscription, 100, timeout=1)

    def rejections(self) -> list[tuple[str, str]]:
        records = self.instance.fetch_observations(REJECTED_KEY, limit=1000, ascending=True).records
        found = [record.asset_observation for record in records]
        return [(str(o.metadata["source_message_id"].value), str(o.metadata["reason"].value)) for o in found if o]

    def waits(self) -> RequestCursor:
        return RequestCursor.model_validate_json(self.cursor or "{}")


@pytest.fixture(scope="session")
def request_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a warehouse with four concerts, of which two are ahead; no test here writes to it."""
    with dg.DagsterInstance.ephemeral() as instance:
        made = Pipeline(tmp_path_factory.mktemp("requests"), instance, first_day=FIRST, last_day=LAST)
        over = {"on_sale_at": None, "show_at": "2026-01-05 10:00:00"}
        gone = {"status": "cancelled", "status_at": "2026-01-03 00:00:00"}
        concerts = [made.concert(), made.concert("c2"), made.concert("over", **over), made.concert("gone", **gone)]
        made.put(concerts=concerts)
        made.load(FIRST, LAST)
    return made.settings


@pytest.fixture
def office(request_settings: Settings, pubsub: PubSub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    # A tick looks only briefly whether more messages follow those that it has.
    monkeypatch.setattr("mmt_assets.forecast_requests.tick._NEXT_PULL_TIMEOUT_SECONDS", 0.3)
    with dg.DagsterInstance.ephemeral() as instance:
        history_is_there(instance)
        yield Office(request_settings, instance, pubsub)


def history_is_there(instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(asset_key(CONCERT_VERSIONS)))
    for table in (TICKET_ORDERS, TICKET_REFUNDS, MAKES, *FEATURE_TABLES):
        for day in (FIRST, LAST):
            instance.report_runless_asset_event(dg.AssetMaterialization(asset_key(table), partition=day.isoformat()))
