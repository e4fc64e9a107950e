"""Ticks that failed, waited or met a message again: the next one makes it good."""

import dagster as dg
import pytest

from mmt_assets.forecast_requests.hand import Hand
from mmt_assets.gcp.pubsub import PubSub, PubSubError
from mmt_assets.gcp.pubsub_setup import REQUESTS, set_up
from mmt_assets.job_names import DAILY_JOB
from mmt_assets.settings import Settings
from mmt_assets.warehouse import DuckDBWarehouse
from mmt_assets_tests.request_office import Office
from mmt_assets_tests.servers.pubsub import PubSubEmulator


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


def test_before_the_first_load_requests_wait(request_settings: Settings, pubsub: PubSub) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        office = Office(request_settings, instance, pubsub)
        office.ask(kind="concert", concert_id="c1")
        assert office.tick().waiting == 1
    assert "the warehouse is empty: run the daily job first" in office.message


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
