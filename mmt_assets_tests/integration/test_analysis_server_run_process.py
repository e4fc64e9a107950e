"""The run's own process, as the UI starts it: terminated, killed, and never missed by its machine."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psutil
import pytest

from mmt_assets.sensors.vm_reaper import reap
from mmt_assets.sensors.vm_release import release_machines_of
from mmt_assets_tests.servers.analysis_server import AnalysisServer, messages
from mmt_assets_tests.servers.dagster_deployment import instance_of, is_alive, status, wait_until
from mmt_assets_tests.servers.scripted_deployment import (
    ScriptedDeployment,
    deployment,
    run_process,
    start_busy_run,
    terminate_in_the_ui,
)

Deployed = tuple[ScriptedDeployment, dg.DagsterInstance]


@pytest.fixture
def deployed(analysis_server: AnalysisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """A code server and the instance that its runs are in."""
    folder = tmp_path / "project"
    folder.mkdir()
    with deployment(folder, analysis_server) as made, instance_of(folder, monkeypatch) as instance:
        made.start_code_server()
        yield made, instance


def ends(told: list[str]) -> list[str]:
    """What the reaper ended; that others are gone it tells besides."""
    return [line for line in told if not line.endswith("is gone")]


def test_a_run_that_is_terminated_in_the_ui_ends_its_machine_itself_and_a_killed_one_s_is_ended_by_sensors(
    analysis_server: AnalysisServer, deployed: Deployed
) -> None:
    client, settings = analysis_server.client(), analysis_server.settings()
    made, instance = deployed

    terminated = start_busy_run(made, instance, analysis_server)
    [place] = analysis_server.cloud.instances()
    inside = [psutil.Process(pid) for pid in analysis_server.cloud.processes(*place)]
    terminate_in_the_ui(made, instance, terminated)
    wait_until(lambda: status(instance, terminated) == dg.DagsterRunStatus.CANCELED, 60, "the run's end")
    assert any(text == f"{'/'.join(place)} is asked to end" for _, text in messages(instance, terminated))
    assert client.wait_gone(*place, terminated, 30)
    assert not any(is_alive(process) for process in inside)

    killed = start_busy_run(made, instance, analysis_server)
    [place] = analysis_server.cloud.instances()
    # While the run lives nobody touches its machine, however often they look.
    assert ends(reap(instance, client, settings, datetime.now(UTC))) == []
    os.kill(run_process(instance, killed).pid, signal.SIGKILL)
    wait_until(lambda: status(instance, killed) == dg.DagsterRunStatus.FAILURE, 60, "the code server's notice")
    [told] = release_machines_of(instance, settings, {killed})
    assert told == f"{'/'.join(place)} of run {killed}: requested"
    assert client.wait_gone(*place, killed, 30)
    analysis_server.assert_nothing_is_left()


@pytest.mark.chaos
def test_run_and_code_server_killed_at_once_leave_a_machine_that_the_silence_ends(
    analysis_server: AnalysisServer, deployed: Deployed
) -> None:
    client, settings = analysis_server.client(), analysis_server.settings()
    made, instance = deployed
    alone = start_busy_run(made, instance, analysis_server)
    [place] = analysis_server.cloud.instances()
    process = run_process(instance, alone)
    made.down()
    if is_alive(process):
        process.kill()
    assert status(instance, alone) == dg.DagsterRunStatus.STARTED
    assert ends(reap(instance, client, settings, datetime.now(UTC))) == []
    [told] = ends(reap(instance, client, settings, datetime.now(UTC) + timedelta(hours=1)))
    assert "The run is dead" in told
    assert client.wait_gone(*place, alone, 30)
    assert status(instance, alone) == dg.DagsterRunStatus.FAILURE
    analysis_server.assert_nothing_is_left()
