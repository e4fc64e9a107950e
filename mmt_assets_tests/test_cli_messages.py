"""Commands about messages, against Google's emulator."""

import json

import pytest
from typer.testing import CliRunner

from mmt_assets.cli.main import app
from mmt_assets.gcp.pubsub import PubSub
from mmt_assets.gcp.pubsub_setup import DEAD_LETTERS, REQUESTS


def run(*arguments: str, fails: bool = False) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == int(fails), result.output
    return " ".join(result.output.split())


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, pubsub: PubSub) -> None:
    monkeypatch.setenv("MMT_PROJECT", pubsub.project)
    # The variable that Google's own tools are told by.
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", str(pubsub.emulator))


def test_requests_are_published_as_the_sensor_reads_them(pubsub: PubSub) -> None:
    assert f"published to projects/{pubsub.project}/topics/mmt-forecast-requests" in run("request", "concert", "c1")
    run("request", "daily")
    run("request", "daily", "--as-of", "2026-01-10", "--rerun")
    pulled = [json.loads(message.data) for message in pubsub.pull(REQUESTS.subscription, 10)]
    assert sorted(pulled, key=str) == [
        {"kind": "concert", "concert_id": "c1"},
        {"kind": "daily", "as_of_date": "2026-01-10", "rerun": True},
        {"kind": "daily", "rerun": False},
    ]


def test_setup_prints_what_it_did(pubsub: PubSub, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run("pubsub", "setup")
    assert f"topic projects/{pubsub.project}/topics/mmt-vm-events exists" in told
    monkeypatch.setenv("MMT_PROJECT", f"{pubsub.project}-b")
    assert f"subscription projects/{pubsub.project}-b/subscriptions/mmt-vm-events created" in run("pubsub", "setup")


def test_dead_letters_are_shown_with_their_reasons_and_stay_until_they_are_removed(pubsub: PubSub) -> None:
    pubsub.publish(DEAD_LETTERS.topic, b"[/x] no markup", reason="not JSON: it is [red]", source_message_id="17")
    for arguments in ((), ("--remove",)):
        told = run("pubsub", "dead-letters", *arguments)
        assert "message 17 (" in told
        assert "UTC): not JSON: it is [red] [/x] no markup" in told
        assert "1 dead letters" in told
    assert pubsub.pull(DEAD_LETTERS.subscription, 10, timeout=1) == []


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "concert_id '': String should have at least 1 character" in run("request", "concert", "", fails=True)
    monkeypatch.setenv("MMT_PROJECT", "another-project")
    assert "it does not exist. Create it: python -m mmt_assets pubsub setup" in run("request", "daily", fails=True)
    monkeypatch.delenv("MMT_PROJECT")
    assert "MMT_PROJECT is unset" in run("request", "daily", fails=True)
    monkeypatch.setenv("MMT_PUBSUB_EMULATOR", "nowhere")
    assert "MMT_PUBSUB_EMULATOR is 'nowhere'" in run("request", "daily", fails=True)
