"""The client of Pub/Sub against Google's emulator: what it delivers and what it says when it cannot."""

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from mmt_assets.gcp.pubsub import PubSub, PubSubError
from mmt_assets.gcp.pubsub_setup import ACK_DEADLINE_SECONDS, DEAD_LETTERS, QUEUES, REQUESTS, VM_EVENTS, set_up
from mmt_assets_tests.servers.dagster_deployment import end_tree, free_port, is_listening, wait_until
from mmt_assets_tests.servers.pubsub import PubSubEmulator
from mmt_assets_tests.servers.required import missing

MESSAGES = Path(__file__).parents[1] / "infra" / "messages.tf"
# A server that speaks gRPC and refuses every call with the status that it is started with.
REFUSES = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc
class Refuses(grpc.GenericRpcHandler):
    def service(self, details):
        def refuse(request, context):
            context.abort(grpc.StatusCode[sys.argv[2]], "caller has no business here")
        return grpc.unary_unary_rpc_method_handler(refuse)
server = grpc.server(ThreadPoolExecutor(2), handlers=[Refuses()])
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
"""


def test_what_is_published_is_pulled_with_its_attributes_until_it_is_acknowledged(pubsub: PubSub) -> None:
    published = [pubsub.publish(REQUESTS.topic, b"first"), pubsub.publish(VM_EVENTS.topic, b"", event="vm.finished")]
    [first] = pubsub.pull(REQUESTS.subscription, 10)
    [second] = pubsub.pull(VM_EVENTS.subscription, 10)
    assert [first.message_id, second.message_id] == published
    assert (first.data, first.attributes, first.delivery_attempt) == (b"first", {}, 1)
    assert (second.data, second.attributes) == (b"", {"event": "vm.finished"})
    assert first.identity != second.identity
    assert first.published_at.utcoffset() == timedelta(0)

    pubsub.release(REQUESTS.subscription, [first.ack_id])
    [again] = pubsub.pull(REQUESTS.subscription, 10)
    assert (again.message_id, again.identity, again.delivery_attempt) == (first.message_id, first.identity, 2)
    pubsub.acknowledge(REQUESTS.subscription, [again.ack_id])
    pubsub.release(REQUESTS.subscription, [again.ack_id])
    assert pubsub.pull(REQUESTS.subscription, 10, timeout=1) == []


def test_many_messages_are_published_in_one_request_and_acknowledged_in_parts(pubsub: PubSub) -> None:
    count = 1500
    first = pubsub.publish_all(REQUESTS.topic, [(f"{n}".encode(), {}) for n in range(1000)])
    second = pubsub.publish_all(REQUESTS.topic, [(f"{n}".encode(), {}) for n in range(1000, count)])
    pulled = []
    while len(pulled) < count:
        found = pubsub.pull(REQUESTS.subscription, 1000)
        assert found, f"{len(pulled)} of {count}"
        pulled += found
    assert sorted(int(message.data) for message in pulled) == list(range(count))
    assert {message.message_id for message in pulled} == {*first, *second}
    assert len({message.identity for message in pulled}) == count
    pubsub.acknowledge(REQUESTS.subscription, [message.ack_id for message in pulled])
    assert pubsub.pull(REQUESTS.subscription, 10, timeout=1) == []


def test_messages_of_ten_megabytes_come_through(pubsub: PubSub) -> None:
    for _ in range(3):
        pubsub.publish(REQUESTS.topic, b"x" * 9_990_000, timeout=60)
    sizes = []
    while len(sizes) < 3:
        pulled = pubsub.pull(REQUESTS.subscription, 100, timeout=60)
        assert pulled
        pubsub.acknowledge(REQUESTS.subscription, [message.ack_id for message in pulled])
        sizes += [len(message.data) for message in pulled]
    assert sizes == [9_990_000] * 3


def test_setting_up_is_repeatable_and_brings_what_differs_in_line(
    pubsub_emulator: PubSubEmulator, pubsub_project: str
) -> None:
    with PubSub(pubsub_project, emulator=pubsub_emulator.address) as client:
        created = set_up(client, ack_deadline_seconds=60)
        assert len(created) == 2 * len(QUEUES)
        assert all(line.endswith(" created") for line in created)
        assert f"topic projects/{pubsub_project}/topics/mmt-forecast-requests created" in created
        assert [line.split(" ", 2)[2] for line in set_up(client)] == ["exists", "changed: ack_deadline_seconds"] * 3
        assert all(line.endswith(" exists") for line in set_up(client))


def test_a_subscription_of_another_topic_is_not_taken_for_ours(pubsub: PubSub) -> None:
    pubsub.publisher.delete_topic(topic=pubsub.topic(REQUESTS.topic))
    told = [line for line in set_up(pubsub) if REQUESTS.subscription in line and line.startswith("subscription")]
    assert "belongs to _deleted-topic_" in told[1]
    assert "delete it and run this again" in told[1]


def test_names_and_times_agree_with_terraform() -> None:
    text = MESSAGES.read_text()
    named = re.findall(r'topic = "([^"]+)", subscription = "([^"]+)"', text)
    assert named == [(queue.topic, queue.subscription) for queue in (REQUESTS, VM_EVENTS)]
    assert f'dead_letters = "{DEAD_LETTERS.topic}"' in text
    assert set(re.findall(r"ack_deadline_seconds\s+= (\d+)", text)) == {str(ACK_DEADLINE_SECONDS)}
    assert set(re.findall(r"max_delivery_attempts = (\d+)", text)) == {"100"}
    kept = {int(seconds) for seconds in re.findall(r'message_retention_duration = "(\d+)s"', text)}
    assert kept == {int(queue.keep_for.total_seconds()) for queue in QUEUES}


def test_a_missing_subscription_or_topic_says_how_to_create_it(
    pubsub_emulator: PubSubEmulator, pubsub_project: str
) -> None:
    with PubSub(pubsub_project, emulator=pubsub_emulator.address) as client:
        with pytest.raises(PubSubError, match=r"pull from subscription mmt-vm-events: .*pubsub setup"):
            client.pull(VM_EVENTS.subscription, 1)
        with pytest.raises(PubSubError, match=r"publish to topic mmt-vm-events: .*pubsub setup"):
            client.publish(VM_EVENTS.topic, b"x")


def test_silence_is_told_from_an_empty_queue_and_an_outage_ends_without_help(
    own_pubsub_emulator: PubSubEmulator, pubsub_project: str
) -> None:
    with PubSub(pubsub_project, emulator=own_pubsub_emulator.address) as client:
        set_up(client)
        assert client.pull(REQUESTS.subscription, 1, timeout=1) == []
        own_pubsub_emulator.freeze()
        with pytest.raises(PubSubError, match="no answer in time"):
            client.pull(REQUESTS.subscription, 1, timeout=1)
        own_pubsub_emulator.thaw()
        client.publish(REQUESTS.topic, b"after", timeout=30)
        assert [message.data for message in client.pull(REQUESTS.subscription, 1, timeout=30)] == [b"after"]

        own_pubsub_emulator.kill()
        with pytest.raises(PubSubError, match="cannot pull from subscription"):
            client.pull(REQUESTS.subscription, 1, timeout=1)
        own_pubsub_emulator.start()

        def is_back() -> bool:
            try:
                return bool(set_up(client))
            except PubSubError:
                return False

        wait_until(is_back, 60, "the end of the outage")
        first_again = client.publish(REQUESTS.topic, b"after")
        [message] = client.pull(REQUESTS.subscription, 1)
        assert message.message_id == first_again


@pytest.mark.parametrize("status", ["PERMISSION_DENIED", "UNAUTHENTICATED"])
def test_a_refusal_names_the_credentials(status: str) -> None:
    port = free_port()
    server = subprocess.Popen([sys.executable, "-c", REFUSES, str(port), status], start_new_session=True)
    try:
        wait_until(lambda: is_listening(port), 60, "the server's start")
        with (
            PubSub("a-project", emulator=f"127.0.0.1:{port}") as client,
            pytest.raises(PubSubError, match=r"caller has no business here\. Check the credentials"),
        ):
            client.pull(REQUESTS.subscription, 1)
    finally:
        end_tree(server)


@pytest.mark.parametrize(
    ("content", "told"), [(None, "was not found"), ("{}", "type"), ('{"type": "service_account"}', "missing")]
)
def test_credentials_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, told: str
) -> None:
    path = tmp_path / "credentials.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with PubSub("a-project") as client, pytest.raises(PubSubError, match=told) as error:
        client.pull(REQUESTS.subscription, 1)
    assert "cannot log in" in str(error.value)
    assert "Check the credentials" in str(error.value)


@pytest.mark.parametrize(
    ("variables", "is_failure"),
    [
        ({}, False),
        ({"CI": "true"}, True),
        ({"MMT_REQUIRE_EMULATORS": "1"}, True),
        ({"MMT_REQUIRE_EMULATORS": "0", "CI": "true"}, False),
    ],
)
def test_a_missing_emulator_is_a_named_skip_and_a_failure_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], is_failure: bool
) -> None:
    for name in ("CI", "MMT_REQUIRE_EMULATORS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    outcome = pytest.fail.Exception if is_failure else pytest.skip.Exception
    with pytest.raises(outcome, match="A program is not installed: apt-get install it"):
        missing("A program", "apt-get install it")
