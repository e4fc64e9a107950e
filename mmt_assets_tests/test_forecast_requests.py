"""Ticks of the request sensor against Google's emulator: one run for each request, and what a tick remembers."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from mmt_assets.assets.messages import REQUESTS_KEY
from mmt_assets.forecast_requests.cursor import CursorError, RequestCursor
from mmt_assets.forecast_requests.tick import REQUEST_IDS_TAG
from mmt_assets.job_names import CONCERT_JOB
from mmt_assets.partitions import CONCERTS
from mmt_assets_tests.request_office import RUN_KEY, Office


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


def test_more_concerts_than_a_tick_asks_for_follow_in_the_next_one(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmt_assets.forecast_requests.tick._MOST_RUNS", 1)
    office.ask(kind="concert", concert_id="c1")
    office.ask(kind="concert", concert_id="c2")
    first, second = office.tick(), office.tick()
    assert (first.runs, first.waiting, second.runs, second.waiting) == (1, 1, 1, 0)


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
