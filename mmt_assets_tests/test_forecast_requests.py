"""Ticks of the request sensor against Google's emulator: one run for each request, a reason for each refusal."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from mmt_assets.assets.catalog import asset_key
from mmt_assets.assets.messages import REJECTED_KEY, REQUESTS_KEY
from mmt_assets.assets.run_once import AS_OF_TAG, RERUN_TAG
from mmt_assets.contracts import CONCERTS as CONCERT_VERSIONS
from mmt_assets.contracts import FEATURE_TABLES, MAKES, TICKET_ORDERS, TICKET_REFUNDS
from mmt_assets.forecast_requests import SENSOR_NAME
from mmt_assets.forecast_requests.cursor import CursorError, RequestCursor
from mmt_assets.forecast_requests.hand import Hand
from mmt_assets.forecast_requests.report import TickReport
from mmt_assets.forecast_requests.tick import REQUEST_IDS_TAG, Tick
from mmt_assets.gcp.pubsub import Message, PubSub, PubSubError
from mmt_assets.gcp.pubsub_setup import DEAD_LETTERS, REQUESTS, set_up
from mmt_assets.job_names import CONCERT_JOB, DAILY_JOB
from mmt_assets.partitions import CONCERTS
from mmt_assets.resources import DuckDBFile
from mmt_assets.schedules import daily_forecast_schedule
from mmt_assets.settings import Settings
from mmt_assets.warehouse import DuckDBWarehouse
from mmt_assets_tests.conftest import Pipeline
from mmt_assets_tests.servers.pubsub import PubSubEmulator

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


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick looks only briefly whether more messages follow those that it has."""
    monkeypatch.setattr("mmt_assets.forecast_requests.tick._NEXT_PULL_TIMEOUT_SECONDS", 0.3)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Settings:
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
def office(loaded: Settings, pubsub: PubSub) -> Iterator[Office]:
    with dg.DagsterInstance.ephemeral() as instance:
        history_is_there(instance)
        yield Office(loaded, instance, pubsub)


def history_is_there(instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(asset_key(CONCERT_VERSIONS)))
    for table in (TICKET_ORDERS, TICKET_REFUNDS, MAKES, *FEATURE_TABLES):
        for day in (FIRST, LAST):
            instance.report_runless_asset_event(dg.AssetMaterialization(asset_key(table), partition=day.isoformat()))


def test_a_request_becomes_a_run_and_is_acknowledged_only_when_the_run_is_there(office: Office) -> None:
    first = office.ask(kind="concert", concert_id="c1")
    report = office.tick()
    assert (report.pulled, report.runs, report.launched, report.acknowledged, report.pending) == (1, 1, 1, 0, 1)
    [request] = office.made
    assert (request.job_name, request.partition_key) == (CONCERT_JOB, "c1")
    assert request.tags[REQUEST_IDS_TAG] == first
    assert str(request.run_key).startswith(f"concert:c1:{first}:")
    # Its partition was not there yet.
    assert set(office.instance.get_dynamic_partitions(str(CONCERTS.name))) == {"c1"}

    report = office.tick()
    assert (report.pulled, report.runs, report.acknowledged, report.pending) == (0, 0, 1, 0)
    assert office.message.startswith("pulled 0, launched 0 (in 0 runs), joined 0, duplicate 0, rejected 0, pending 0")
    assert office.hand.deliveries == {}
    assert office.tick().is_idle
    assert len(office.made) == 1


def test_requests_for_one_concert_share_a_run_and_every_later_one_gets_its_own(office: Office) -> None:
    ids = [office.ask(kind="concert", concert_id=concert) for concert in ("c1", "c2", "c1", "c1")]
    report = office.tick()
    assert (report.pulled, report.runs, report.launched) == (4, 2, 4)
    assert {str(r.partition_key): r.tags[REQUEST_IDS_TAG] for r in office.made} == {
        "c1": ", ".join([ids[0], *ids[2:]]),
        "c2": ids[1],
    }
    office.tick()
    office.ask(kind="concert", concert_id="c1")
    assert office.tick().runs == 1, "the run before has started: what it read may be older than this request"
    assert len({request.run_key for request in office.made}) == 3


def test_a_request_joins_a_run_that_has_not_started(office: Office) -> None:
    office.ask(kind="concert", concert_id="c1")
    office.tick(status=dg.DagsterRunStatus.QUEUED)
    for _ in range(2):
        office.ask(kind="concert", concert_id="c1")
    report = office.tick()
    assert (report.runs, report.joined, report.acknowledged) == (0, 2, 3)
    assert len(office.made) == 1


def test_a_run_that_is_only_a_row_answers_nothing_yet(office: Office) -> None:
    office.ask(kind="concert", concert_id="c1")
    office.tick(status=dg.DagsterRunStatus.NOT_STARTED)
    report = office.tick()
    assert (report.acknowledged, report.pending) == (0, 1)
    # The daemon never came back to it: it is asked for again, under the same key.
    _, result = office.evaluate(datetime.now(UTC) + timedelta(seconds=130))
    assert [request.run_key for request in result.run_requests or []] == [office.made[0].run_key]


def end(office: Office, status: str, **tags: str) -> None:
    """The last run that was asked for ends."""
    [run] = office.instance.get_runs(dg.RunsFilter(tags={RUN_KEY: str(office.made[-1].run_key)}))
    office.instance.add_run_tags(run.run_id, tags)
    event = dg.DagsterEvent(event_type_value=f"PIPELINE_{status}", job_name=run.job_name, message="it ended")
    office.instance.report_dagster_event(event, run.run_id)


def test_a_run_that_dagster_lost_is_asked_for_again_and_twice_at_most(office: Office) -> None:
    office.ask(kind="concert", concert_id="c1")
    office.tick()
    office.tick()
    later = datetime.now(UTC) + timedelta(seconds=30)
    for number in (1, 2):
        end(office, "FAILURE", **{"dagster/will_retry": "false"})
        assert office.tick().runs == 0, "whether it is retried may not be noted yet"
        assert office.tick(later).runs == 1
        assert str(office.made[-1].run_key) == f"{office.made[0].run_key}:again{number}"
        office.tick()
    end(office, "FAILURE", **{"dagster/will_retry": "false"})
    assert office.tick(later).is_idle
    assert len(office.made) == 3
    assert {request.partition_key for request in office.made} == {"c1"}
    assert office.waits().watched == {}


@pytest.mark.parametrize(
    ("status", "tags", "is_over"),
    [
        ("SUCCESS", {}, True),
        ("CANCELED", {}, True),
        ("FAILURE", {"dagster/failure_reason": "STEP_FAILURE"}, True),
        ("FAILURE", {"dagster/will_retry": "true"}, False),
    ],
)
def test_other_ends_of_a_run_are_its_own(office: Office, status: str, tags: dict[str, str], is_over: bool) -> None:
    office.ask(kind="concert", concert_id="c1")
    office.tick()
    office.tick()
    end(office, status, **tags)
    assert office.tick(datetime.now(UTC) + timedelta(seconds=30)).is_idle
    assert len(office.made) == 1
    assert bool(office.waits().watched) is not is_over


POISON = [
    (b"{not json", "not JSON: key must be a string at line 1 column 2"),
    (b"\xff\xfe\x00\x01", "not text: byte 0 is not UTF-8"),
    (b" ", "empty: expected JSON"),
    (b"x" * 9_990_000, "too large: 9,990,000 bytes, at most 65,536"),
    (b"[" * 60_000, "not JSON: recursion limit exceeded"),
    (b'{"concert": "c1"}', "not a forecast request: kind is missing: expected concert or daily"),
    (b'{"kind": "hourly"}', "not a forecast request: kind is hourly: expected concert or daily"),
    (b'{"kind": "concert"}', "not a forecast request: concert_id: Field required"),
    (b'{"kind": "concert", "concert_id": 1}', "not a forecast request: concert_id: Input should be a valid string"),
    (b'{"kind": "concert", "concert_id": "c1", "when": "now"}', "when: Extra inputs are not permitted"),
    (b'{"kind": "daily", "rerun": "yes"}', "not a forecast request: rerun: Input should be a valid boolean"),
    (b'{"kind": "daily", "as_of_date": "10.01.2026"}', "not a forecast request: as_of_date: Input should be"),
    (b'{"kind": "daily", "as_of_date": "2026-01-11"}', "is not over yet: the last complete day is 2026-01-10"),
    (b'{"kind": "daily", "as_of_date": "2026-01-08"}', "lies before the first day 2026-01-09"),
    (b'{"kind": "concert", "concert_id": "c1\'; DROP TABLE raw.concerts; --"}', "allowed are A-Z a-z 0-9"),
    (b'{"kind": "concert", "concert_id": "c9"}', "unknown concert 'c9': raw/concerts does not have it"),
    (b'{"kind": "concert", "concert_id": "over"}', "concert 'over' is over: its show was on 2026-01-05"),
    (b'{"kind": "concert", "concert_id": "gone"}', "concert 'gone' is cancelled"),
]


def test_what_can_never_be_done_is_dead_lettered_once_with_its_reason(office: Office) -> None:
    ids = [office.publish(data) for data, _ in POISON]
    good = office.ask(kind="concert", concert_id="c1")
    reports = [office.tick()]
    # Large messages come in replies of their own.
    while sum(report.pulled for report in reports) <= len(POISON):
        reports.append(office.tick())
    assert sum(report.rejected for report in reports) == len(POISON)
    assert [request.tags[REQUEST_IDS_TAG] for request in office.made] == [good]
    reports += [office.tick(), office.tick()]
    assert reports[-1].is_idle
    assert sum(report.dead_lettered for report in reports) == len(POISON)
    assert sum(report.acknowledged for report in reports) == len(POISON) + 1

    told = dict(office.rejections())
    letters = {letter.attributes["source_message_id"]: letter for letter in office.dead_letters()}
    assert sorted(told) == sorted(letters) == sorted(ids)
    assert len(office.rejections()) == len(POISON)
    assert len(set(told.values())) == len(POISON), "every fault has a reason of its own"
    for message_id, (data, reason) in zip(ids, POISON, strict=True):
        assert reason in told[message_id]
        letter = letters[message_id]
        assert letter.data == data[:64_000]
        assert letter.attributes["reason"] == told[message_id]
        assert letter.attributes["source_size_bytes"] == str(len(data))
    assert office.waits().dead_letters == len(POISON)


def test_a_request_that_is_too_old_is_rejected_as_expired(office: Office) -> None:
    office.ask(kind="concert", concert_id="c1")
    assert office.tick(datetime.now(UTC) + timedelta(hours=73)).rejected == 1
    [(_, reason)] = office.rejections()
    assert "expired: published 73 hours ago, more than MMT_REQUEST_MAX_AGE_HOURS (72)" in reason


def test_a_tick_that_came_to_nothing_is_made_good_by_the_next_one(office: Office) -> None:
    office.ask(kind="concert", concert_id="c1")
    office.publish(b"poison")
    # The daemon dies before it stores anything, then after it stored the observation alone.
    office.evaluate()
    _, result = office.evaluate()
    for event in result.asset_events:
        office.instance.report_runless_asset_event(event)
    report = office.tick()
    assert (report.pulled, report.runs, report.rejected) == (0, 1, 1)
    # It dies after the acknowledgements: what the lost tick did is known to the process.
    office.evaluate()
    report = office.tick()
    assert (report.acknowledged, report.pending, report.dead_lettered) == (0, 0, 0)
    assert office.tick().is_idle
    assert len(office.made) == len(office.rejections()) == len(office.dead_letters()) == 1
    waits = office.waits()
    assert (waits.pending, waits.rejected, waits.dead_letters) == ({}, {}, 1)


def test_a_process_that_was_started_again_takes_redelivered_messages_for_what_they_are(
    office: Office, pubsub: PubSub
) -> None:
    office.ask(kind="concert", concert_id="c1")
    office.publish(b"poison")
    office.tick()
    held = [delivery.ack_id for delivery in office.hand.deliveries.values()]
    office.hand = Hand()
    report = office.tick()
    assert (report.pulled, report.acknowledged, report.pending) == (0, 0, 0), "nothing in hand can be acknowledged"
    assert len(office.waits().answered_messages()) == 1
    pubsub.release(REQUESTS.subscription, held)
    report = office.tick()
    assert (report.pulled, report.runs, report.rejected, report.acknowledged) == (2, 0, 0, 2)
    assert len(office.made) == len(office.rejections()) == len(office.dead_letters()) == 1
    assert office.tick().is_idle


def test_a_message_that_is_delivered_again_after_all_is_a_duplicate(office: Office, pubsub: PubSub) -> None:
    office.ask(kind="concert", concert_id="c1")
    office.tick()
    snapshot = f"projects/{pubsub.project}/snapshots/before"
    pubsub.subscriber.create_snapshot(name=snapshot, subscription=pubsub.subscription(REQUESTS.subscription))
    office.tick()
    pubsub.subscriber.seek(request={"subscription": pubsub.subscription(REQUESTS.subscription), "snapshot": snapshot})
    report = office.tick()
    assert (report.pulled, report.duplicate, report.runs, report.acknowledged) == (1, 1, 0, 1)
    assert office.tick().is_idle
    assert len(office.made) == 1


def test_without_a_dead_letter_topic_requests_go_on_and_nothing_is_lost(office: Office, pubsub: PubSub) -> None:
    pubsub.publisher.delete_topic(topic=pubsub.topic(DEAD_LETTERS.topic))
    pubsub.subscriber.delete_subscription(subscription=pubsub.subscription(DEAD_LETTERS.subscription))
    office.publish(b"poison")
    office.tick()
    [ack_id] = [delivery.ack_id for delivery in office.hand.deliveries.values()]
    office.ask(kind="concert", concert_id="c1")
    report = office.tick()
    assert (report.launched, report.dead_lettered) == (1, 0)
    assert "no dead letters" in office.message
    assert "pubsub setup" in office.message
    set_up(pubsub)
    pubsub.release(REQUESTS.subscription, [ack_id])
    report = office.tick()
    assert (report.dead_lettered, report.rejected, report.acknowledged) == (1, 0, 2)
    assert len(office.rejections()) == 1


def test_requests_wait_while_the_warehouse_is_held_and_days_do_not(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmt_assets.forecast_requests.judge._BUSY_TIMEOUT_SECONDS", 0.01)
    office.ask(kind="concert", concert_id="c1")
    office.ask(kind="daily")
    with DuckDBWarehouse(office.settings.warehouse_path).open():
        report = office.tick()
    assert (report.waiting, report.launched) == (1, 1)
    assert "requests for concerts wait" in office.message
    assert [request.job_name for request in office.made] == [DAILY_JOB]
    report = office.tick()
    assert (report.pulled, report.waiting, report.launched) == (0, 0, 1)


def test_before_the_first_load_requests_wait(loaded: Settings, pubsub: PubSub) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        office = Office(loaded, instance, pubsub)
        office.ask(kind="concert", concert_id="c1")
        assert office.tick().waiting == 1
    assert "the warehouse is empty: run the daily job first" in office.message


def test_a_daily_message_makes_the_last_complete_day_once(office: Office) -> None:
    for _ in range(3):
        office.ask(kind="daily")
    office.ask(kind="daily", as_of_date="2026-01-09")
    report = office.tick()
    assert (report.runs, report.launched) == (1, 4), "the newest day covers those before it"
    [request] = office.made
    assert request.job_name == DAILY_JOB
    assert request.tags[AS_OF_TAG] == "2026-01-10"
    assert str(request.run_key).startswith("daily:2026-01-10:")
    office.ask(kind="daily")
    report = office.tick()
    assert (report.runs, report.joined, report.acknowledged) == (0, 1, 5)
    assert "no run for 2026-01-10: run" in office.message
    assert office.tick().is_idle


def test_a_daily_message_finds_the_run_of_the_schedule(office: Office) -> None:
    office.instance.add_run(
        dg.DagsterRun(job_name=DAILY_JOB, tags={AS_OF_TAG: "2026-01-10"}, status=dg.DagsterRunStatus.SUCCESS)
    )
    office.ask(kind="daily")
    report = office.tick()
    assert (report.runs, report.joined, report.acknowledged) == (0, 1, 1)
    assert "2026-01-10 was made by run" in office.message

    office.ask(kind="daily", rerun=True)
    office.ask(kind="daily")
    report = office.tick()
    assert (report.runs, report.launched, report.joined) == (1, 1, 1)
    [request] = office.made
    assert request.tags[RERUN_TAG] == "true"
    assert str(request.run_key).startswith("rerun:2026-01-10:")


def test_the_schedule_finds_the_run_of_a_daily_message(office: Office, tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as stored:
        # A schedule's context opens the instance by its address.
        history_is_there(stored)
        office.instance = stored
        office.ask(kind="daily")
        office.tick()
        context = dg.build_schedule_context(instance=stored, scheduled_execution_time=datetime.now(UTC))
        data = daily_forecast_schedule(office.settings).evaluate_tick(context)
    assert data.run_requests == []
    assert "for 2026-01-10 is started" in str(data.skip_message)


def test_a_message_without_a_day_means_the_one_that_was_complete_when_it_was_published(
    office: Office,
) -> None:
    office.settings = Settings.model_validate({"home": office.settings.home, "first_day": FIRST, "timezone": "UTC"})
    published = datetime.now(UTC)
    office.ask(kind="daily")
    office.tick(published + timedelta(days=2))
    [pending] = office.waits().pending.values()
    assert pending.day == published.date() - timedelta(days=1)


def test_more_concerts_than_a_tick_asks_for_follow_in_the_next_one(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmt_assets.forecast_requests.tick._MOST_RUNS", 1)
    office.ask(kind="concert", concert_id="c1")
    office.ask(kind="concert", concert_id="c2")
    first, second = office.tick(), office.tick()
    assert (first.runs, first.waiting, second.runs, second.waiting) == (1, 1, 1, 0)


def test_an_outage_fails_the_tick_and_changes_nothing(
    office: Office, own_pubsub_emulator: PubSubEmulator, pubsub: PubSub
) -> None:
    with PubSub(pubsub.project, emulator=own_pubsub_emulator.address) as client:
        office.pubsub = client
        with pytest.raises(PubSubError, match="mmt-forecast-requests: it does not exist"):
            office.tick()
        set_up(client)
        office.ask(kind="concert", concert_id="c1")
        office.tick()
        own_pubsub_emulator.freeze()
        before = office.cursor
        with pytest.raises(PubSubError, match="no answer in time"):
            office.tick()
        assert office.cursor == before
        own_pubsub_emulator.thaw()
        report = office.tick()
        assert (report.pending, report.acknowledged, office.hand.deliveries) == (0, 0, {})
        assert len(office.waits().answered_messages()) == 1, "known when it is delivered again"
    assert len(office.made) == 1


def test_an_acknowledgement_that_is_refused_fails_one_tick_and_not_the_next(office: Office, pubsub: PubSub) -> None:
    office.ask(kind="concert", concert_id="c1")
    office.tick()
    [delivery] = office.hand.deliveries.values()
    good, delivery.ack_id = delivery.ack_id, "nonsense"
    with pytest.raises(PubSubError, match="cannot acknowledge 1 messages"):
        office.tick()
    office.tick()
    pubsub.release(REQUESTS.subscription, [good])
    report = office.tick()
    assert (report.pulled, report.runs, report.acknowledged) == (1, 0, 1)
    assert len(office.made) == 1


def test_what_the_queue_looks_like_is_observed_when_there_was_something_to_do(office: Office) -> None:
    office.tick()
    assert office.instance.fetch_observations(REQUESTS_KEY, limit=1).records == []
    office.ask(kind="concert", concert_id="c1")
    office.tick(datetime.now(UTC) + timedelta(seconds=30))
    [record] = office.instance.fetch_observations(REQUESTS_KEY, limit=1).records
    assert record.asset_observation
    told = {name: value.value for name, value in record.asset_observation.metadata.items()}
    assert (told["pulled"], told["launched"], told["backlog"], told["backlog_is_complete"]) == (1, 1, 1, True)
    assert 29 < float(str(told["oldest_unanswered_seconds"])) < 60
    assert told["dead_letters_total"] == 0


def test_the_cursor_stays_small_and_remembers_an_hour_at_work() -> None:
    now = datetime.now(UTC).timestamp()
    cursor = RequestCursor.load(None, now)
    for tick in range(600):
        cursor.answer([f"{tick:06}{n:06}" for n in range(10)])
        cursor = RequestCursor.load(cursor.dump(), now := now + 5)
    assert len(cursor.answered_messages()) <= 5000
    assert len(cursor.dump()) < 100_000
    assert "000599000000" in cursor.answered_messages()
    # A night without a daemon is no time at work: what comes late is still known.
    cursor = RequestCursor.load(cursor.dump(), now := now + 12 * 3600)
    assert "000599000000" in cursor.answered_messages()
    for _ in range(61):
        cursor = RequestCursor.load(cursor.dump(), now := now + 60)
    assert cursor.answered_messages() == set()


def test_a_cursor_that_cannot_be_read_says_what_to_do() -> None:
    with pytest.raises(CursorError, match="reset it in the UI"):
        RequestCursor.load("not a cursor", 0.0)
