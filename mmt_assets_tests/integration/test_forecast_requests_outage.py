"""Pub/Sub out of reach, refusing, or gone and back, under a real daemon: ticks fail visibly, then recover."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus

from mmt_assets.assets.run_once import AS_OF_TAG
from mmt_assets.contracts import CONCERT_OUTLOOK
from mmt_assets.forecast_requests import SENSOR_NAME
from mmt_assets.gcp.pubsub import PubSub, PubSubError
from mmt_assets.gcp.pubsub_setup import REQUESTS, set_up
from mmt_assets_tests.servers.dagster_deployment import wait_until
from mmt_assets_tests.servers.pubsub import PubSubEmulator
from mmt_assets_tests.servers.request_deployment import LAST, Requests, request_deployment, write_project

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("requests")
    write_project(folder, concerts=4, runs_at_once=2)
    return folder


def ticks(office: Requests, status: TickStatus) -> list[InstigatorTick]:
    [state] = [s for s in office.instance.all_instigator_state() if s.instigator_name == SENSOR_NAME] or [None]
    found = office.instance.get_ticks(state.instigator_origin_id, state.selector_id) if state else []
    return [tick for tick in found if tick.status == status]


def wait_for_failed_tick(office: Requests, told: str) -> None:
    def failed() -> bool:
        return any(told in str(tick.error) for tick in ticks(office, TickStatus.FAILURE))

    wait_until(failed, 120, f"a failed tick that says {told!r}\n{office.made.logs()}")


def test_a_missing_subscription_fails_ticks_until_it_is_there(project: Path, tmp_path: Path, pubsub: PubSub) -> None:
    with request_deployment(project, tmp_path, pubsub) as office:
        pubsub.subscriber.delete_subscription(subscription=pubsub.subscription(REQUESTS.subscription))
        office.made.up()
        wait_for_failed_tick(office, "it does not exist. Create it: python -m mmt_assets pubsub setup")
        office.made.command("pubsub", "setup")
        office.ask(office.concerts[0])
        office.wait_until_settled(180)
        assert len(office.runs()) == 1


def test_wrong_credentials_fail_ticks_and_acknowledge_nothing(project: Path, tmp_path: Path, pubsub: PubSub) -> None:
    with request_deployment(project, tmp_path, pubsub) as office:
        office.ask(office.concerts[0])
        good = dict(office.made.environment)
        office.made.environment |= {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none.json")}
        # Without an emulator the client logs in, before it talks to anybody.
        del office.made.environment["MMT_PUBSUB_EMULATOR"]
        office.made.up()
        wait_for_failed_tick(office, "cannot log in")
        assert office.runs() == []
        office.made.processes["code"].kill()
        office.made.processes["code"].wait()
        office.made.environment = good
        office.made.start_code_server()
        office.wait_until_settled(180)
        assert len(office.runs()) == 1


def _is_set_up(client: PubSub) -> Callable[[], bool]:
    def attempt() -> bool:
        try:
            return bool(set_up(client, ack_deadline_seconds=10))
        except PubSubError:
            return False

    return attempt


def test_an_emulator_that_freezes_or_dies_in_the_middle_of_a_tick_is_waited_for(
    project: Path, tmp_path: Path, own_pubsub_emulator: PubSubEmulator, pubsub_project: str
) -> None:
    with (
        PubSub(pubsub_project, emulator=own_pubsub_emulator.address) as client,
        request_deployment(project, tmp_path, client) as office,
    ):
        office.made.up()
        office.ask(office.concerts[0])
        office.stop_at("pulled")
        own_pubsub_emulator.freeze()
        office.go_on("pulled")
        wait_for_failed_tick(office, "no answer in time")
        own_pubsub_emulator.thaw()
        office.wait_until_settled(180)
        assert len(office.runs()) == 1, "nothing was lost, nothing came twice"

        # The next one dies with everything in it; what was taken from it is in hand.
        office.ask(office.concerts[1])
        office.stop_at("pulled")
        own_pubsub_emulator.kill()
        office.go_on("pulled")
        wait_for_failed_tick(office, "cannot pull from subscription")
        own_pubsub_emulator.start()
        wait_until(_is_set_up(client), 60, "the emulator's return")
        office.ask(office.concerts[2])
        # It counts from 1 again: these are no duplicates of the first ones.
        wait_until(lambda: len(office.runs()) == 3, 180, "a run for each\n" + office.made.logs())
        wait_until(
            lambda: all(record.dagster_run.status == dg.DagsterRunStatus.SUCCESS for record in office.runs()),
            180,
            "their success",
        )
        assert len({record.dagster_run.tags["dagster/partition"] for record in office.runs()}) == 3


def test_schedule_and_message_at_the_same_moment_make_the_day_once(
    project: Path, tmp_path: Path, pubsub: PubSub
) -> None:
    # Time enough for everything to come up.
    at = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=3)
    with request_deployment(project, tmp_path, pubsub, MMT_DAILY_AT=at.strftime("%H:%M")) as office:
        office.made.up()
        daily = json.dumps({"kind": "daily"}).encode()
        wait_until(lambda: datetime.now(UTC) > at - timedelta(seconds=3), 240, "the schedule's minute")
        pubsub.publish(REQUESTS.topic, daily)

        def made() -> list[dg.DagsterRun]:
            return list(office.instance.get_runs(dg.RunsFilter(tags={AS_OF_TAG: LAST.isoformat()})))

        wait_until(lambda: datetime.now(UTC) > at + timedelta(seconds=40), 90, "both ticks")
        wait_until(lambda: made() and all(run.is_finished for run in made()), 300, "the day\n" + office.made.logs())
        statuses = [run.status.value for run in made()]
        assert statuses.count("SUCCESS") == 1, statuses
        assert set(statuses) <= {"SUCCESS", "CANCELED"}, "who came second found the day made"

        before = len(made())
        pubsub.publish(REQUESTS.topic, daily)
        wait_until(lambda: "was made by run" in office.made.logs(), 60, "the answer to a later message")
        assert len(made()) == before
        days = office.made.rows(f"SELECT concert_id, COUNT(*) FROM {CONCERT_OUTLOOK.table} GROUP BY 1")
        assert {count for _, count in days} == {1}
