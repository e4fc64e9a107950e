"""Requests that can never be done: each is put aside once, with a reason of its own, and holds nothing up."""

from datetime import UTC, datetime, timedelta

from mmt_assets.forecast_requests.tick import REQUEST_IDS_TAG
from mmt_assets.gcp.pubsub import PubSub
from mmt_assets.gcp.pubsub_setup import DEAD_LETTERS, REQUESTS, set_up
from mmt_assets_tests.request_office import Office

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
