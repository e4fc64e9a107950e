"""Sensors and ledger of analysis servers: machines without a living run end, all others are left alone."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from mmt_assets.assets.operations import AGREES, vm_ledger_asset
from mmt_assets.gcp.compute_errors import ComputeError
from mmt_assets.gcp.machines import run_labels
from mmt_assets.gcp.pubsub import PubSub
from mmt_assets.gcp.pubsub_setup import VM_EVENTS
from mmt_assets.job_names import DAILY_JOB
from mmt_assets.resources import DuckDBFile, PubSubResource
from mmt_assets.resources.vm_sessions import LEDGER_KEY, VmSession, noted_sessions
from mmt_assets.schedules import vm_ledger_schedule
from mmt_assets.sensors.vm_finished import release_finished, vm_finished_sensor
from mmt_assets.sensors.vm_reaper import reap
from mmt_assets.sensors.vm_release import vm_release_sensor
from mmt_assets.warehouse import DuckDBWarehouse, Statement
from mmt_assets_tests.servers.analysis_server import AnalysisServer
from mmt_assets_tests.servers.compute_engine.fixture import ZONES
from mmt_assets_tests.servers.dagster_deployment import status, wait_until

ZONE = ZONES[0]
STARTED, FAILED = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE
UNKNOWN_RUN = "99999999-2222-3333-4444-555555555555"
AN_HOUR_LATER = timedelta(hours=1)


def new_run(instance: dg.DagsterInstance, run_status: dg.DagsterRunStatus = STARTED) -> str:
    @dg.job(name=DAILY_JOB)
    def job() -> None: ...

    run = instance.create_run_for_job(job, status=run_status)
    instance.report_engine_event("Started process for run", run)
    return run.run_id


class Machines:
    """Machines at work, without scripts: what matters is whose they are."""

    def __init__(self, server: AnalysisServer) -> None:
        self.server = server
        self.client = server.client()
        self.settings = server.settings()

    def add(self, name: str, labels: Mapping[str, str], machine_status: str = "RUNNING") -> None:
        self.server.cloud.add_instance(ZONE, name, labels=dict(labels), status=machine_status)
        wait_until(lambda: self.status(name) == machine_status, 20, f"{name} being {machine_status}")

    def add_of(self, run_id: str, name: str = "mmt-analysis-1", **changed: Any) -> None:
        lifecycle = changed.pop("lifecycle", "ephemeral")
        self.add(name, run_labels("mmt-assets", run_id, lifecycle), **changed)

    def status(self, name: str) -> str | None:
        found = self.server.cloud.instances().get((ZONE, name))
        return found["status"] if found else None

    def wait(self, name: str, wanted: str | None) -> None:
        wait_until(lambda: self.status(name) == wanted, 20, f"{name} being {wanted}")

    def reap(self, instance: dg.DagsterInstance, later: timedelta = timedelta(0)) -> list[str]:
        return reap(instance, self.client, self.settings, datetime.now(UTC) + later)


@pytest.fixture
def machines(analysis_server: AnalysisServer) -> Machines:
    return Machines(analysis_server)


def test_the_reaper_ends_what_no_run_needs_and_nothing_else(
    machines: Machines, cloud_instance: dg.DagsterInstance
) -> None:
    living, ended = new_run(cloud_instance), new_run(cloud_instance, dg.DagsterRunStatus.SUCCESS)
    machines.add_of(living, "mmt-living")
    machines.add_of(ended, "mmt-ended")
    machines.add_of(ended, "mmt-off", machine_status="TERMINATED")
    machines.add_of(UNKNOWN_RUN, "mmt-unknown")
    machines.add_of(ended, "mmt-named", lifecycle="named")
    machines.add("mmt-staging", run_labels("staging", ended, "ephemeral"))
    machines.add("mmt-analysis-of-another", {"dagster-run-id": ended, "managed-by": "terraform"})
    told = machines.reap(cloud_instance)
    assert sorted(line.partition(":")[0] for line in told) == [
        f"{ZONE}/mmt-{name}" for name in ("ended", "named", "off", "unknown")
    ]
    for name in ("mmt-ended", "mmt-off", "mmt-unknown"):
        machines.wait(name, None)
    machines.wait("mmt-named", "TERMINATED")
    for name in ("mmt-living", "mmt-staging", "mmt-analysis-of-another"):
        assert machines.status(name) == "RUNNING", name
    assert status(cloud_instance, living) == STARTED
    # Whoever ended them, they are in the ledger with their end; a named one is not ended again.
    machines.reap(cloud_instance)
    sessions = {session.machine: session for session in noted_sessions(cloud_instance).values()}
    assert {name: session.ended_by for name, session in sessions.items()} == dict.fromkeys(
        ("mmt-ended", "mmt-off", "mmt-unknown", "mmt-named"), "reaper"
    )
    assert machines.reap(cloud_instance) == []


def test_a_run_that_is_silent_for_too_long_is_failed_and_its_machine_ended(
    machines: Machines, cloud_instance: dg.DagsterInstance
) -> None:
    run_id = new_run(cloud_instance)
    machines.add_of(run_id)
    assert machines.reap(cloud_instance) == []
    [told] = machines.reap(cloud_instance, AN_HOUR_LATER)
    assert "The run is dead: its last event is of" in told
    assert status(cloud_instance, run_id) == FAILED
    machines.wait("mmt-analysis-1", None)


def test_a_machine_that_cannot_be_ended_does_not_keep_the_others_alive(
    machines: Machines, cloud_instance: dg.DagsterInstance
) -> None:
    run_id = new_run(cloud_instance, FAILED)
    machines.add_of(run_id, "mmt-a")
    machines.add_of(run_id, "mmt-b")
    machines.server.cloud.inject("delete", "forbidden", times=None, instance="mmt-a")
    with pytest.raises(ComputeError, match=f"deleting {ZONE}/mmt-a"):
        machines.reap(cloud_instance)
    machines.wait("mmt-b", None)
    machines.server.cloud.clear_faults()
    machines.reap(cloud_instance)
    machines.wait("mmt-a", None)


def test_a_failed_run_s_machine_is_released_and_the_cloud_is_not_asked_without_one(
    machines: Machines, cloud_instance: dg.DagsterInstance
) -> None:
    failed, living = new_run(cloud_instance), new_run(cloud_instance)
    machines.add_of(failed, "mmt-failed")
    machines.add_of(living, "mmt-living")
    sensor = vm_release_sensor(machines.settings)

    def tick(cursor: str | None) -> tuple[str, str]:
        with dg.build_sensor_context(instance=cloud_instance, cursor=cursor) as context:
            data = sensor.evaluate_tick(context)
        return str(data.skip_message), str(data.cursor)

    told, cursor = tick(None)
    assert told == "no run has failed"
    run = cloud_instance.get_run_by_id(failed)
    assert run is not None
    cloud_instance.report_run_canceled(run)
    machines.server.cloud.inject("delete", "forbidden")
    with pytest.raises(ComputeError):
        tick(cursor)
    # The cursor has not moved: the run is looked at again.
    told, cursor = tick(cursor)
    assert told == f"{ZONE}/mmt-failed of run {failed}: requested"
    machines.wait("mmt-failed", None)
    asked = len(machines.server.calls("aggregatedList"))
    assert tick(cursor)[0] == "no run has failed"
    assert len(machines.server.calls("aggregatedList")) == asked
    assert machines.status("mmt-living") == "RUNNING"


def message(run_id: str, **changed: str) -> dict[str, str]:
    given = {"event": "vm.finished", "run_id": run_id, "zone": ZONE, "instance": "mmt-analysis-1", "exit": "0"}
    return {**given, **changed}


def test_a_finished_machine_is_released_once_and_a_living_run_is_left_the_time_to_do_it(
    machines: Machines, cloud_instance: dg.DagsterInstance
) -> None:
    ended, living = new_run(cloud_instance, FAILED), new_run(cloud_instance)
    machines.add_of(ended)
    machines.add_of(living, "mmt-living")

    def hear(attributes: dict[str, str], seconds: float = 0.0) -> tuple[bool, str]:
        age = timedelta(seconds=seconds)
        return release_finished(cloud_instance, machines.client, machines.settings, attributes, age)

    for stale in (
        message(living),
        message(ended, instance="mmt-living"),
        message(ended, zone=ZONES[1]),
        message(ended, event="vm.started"),
        {"event": "vm.finished"},
    ):
        is_done, told = hear(stale)
        assert is_done, told
    is_done, told = hear(message(ended), seconds=3600)
    assert (is_done, "started after the message" in told) == (True, True), "of an earlier session of the machine"
    assert (machines.status("mmt-analysis-1"), machines.status("mmt-living")) == ("RUNNING", "RUNNING")

    assert hear(message(ended)) == (True, f"{ZONE}/mmt-analysis-1 of run {ended}: requested")
    machines.wait("mmt-analysis-1", None)
    assert hear(message(ended)) == (True, f"{ZONE}/mmt-analysis-1 is gone already"), "a duplicate"
    is_done, told = hear(message(living, instance="mmt-living"))
    assert (is_done, "is left to run" in told) == (False, True)
    assert machines.status("mmt-living") == "RUNNING"


def test_a_living_run_s_finished_machine_is_released_when_the_run_did_not_do_it(
    machines: Machines, cloud_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmt_assets.sensors.vm_finished._LEFT_TO_THE_RUN", timedelta(0))
    living = new_run(cloud_instance)
    machines.add_of(living)
    is_done, told = release_finished(
        cloud_instance, machines.client, machines.settings, message(living), timedelta(seconds=0)
    )
    assert (is_done, told) == (True, f"{ZONE}/mmt-analysis-1 of run {living}: requested")
    machines.wait("mmt-analysis-1", None)


def test_the_sensor_takes_the_machines_messages_from_the_queue_and_leaves_those_of_living_runs_in_it(
    machines: Machines, cloud_instance: dg.DagsterInstance, pubsub: PubSub
) -> None:
    ended, living = new_run(cloud_instance, FAILED), new_run(cloud_instance)
    machines.add_of(ended)
    machines.add_of(living, "mmt-living")
    left = message(living, instance="mmt-living")
    for said in (message(ended), message(ended), {"event": "nonsense"}, left):
        pubsub.publish_all(VM_EVENTS.topic, [(b"", said)])
    sensor = vm_finished_sensor(machines.settings)
    resources = {"pubsub": PubSubResource(project=pubsub.project, emulator=pubsub.emulator)}

    def is_released() -> bool:
        # The emulator may give them out a few at a time.
        with dg.build_sensor_context(instance=cloud_instance, resources=resources) as context:
            told = str(sensor.evaluate_tick(context).skip_message)
        return f"{ZONE}/mmt-analysis-1 of run {ended}: requested" in told

    wait_until(is_released, 60, "the release")
    machines.wait("mmt-analysis-1", None)
    for _ in range(3):
        is_released()
    again = wait_until(lambda: pubsub.pull(VM_EVENTS.subscription, 10), 60, "the message that waits")
    assert [dict(found.attributes) for found in again] == [left]
    assert machines.status("mmt-living") == "RUNNING"


def test_the_ledger_holds_every_session_and_disagrees_with_a_machine_that_it_says_is_gone(
    machines: Machines, cloud_instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    ledger = vm_ledger_asset(machines.settings)
    warehouse = DuckDBFile(path=str(tmp_path / "w.duckdb"))

    def make() -> tuple[dict[str, Any], dict[str, Any]]:
        result = dg.materialize([ledger], instance=cloud_instance, resources={"warehouse": warehouse})
        [made] = result.asset_materializations_for_node("operations__vm_ledger")
        checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
        assert all(check.passed for name, check in checks.items() if name != AGREES)
        agreement = {key: value.value for key, value in checks[AGREES].metadata.items()}
        return {key: value.value for key, value in made.metadata.items()}, {
            "passed": checks[AGREES].passed,
            **agreement,
        }

    def rows() -> list[tuple[Any, ...]]:
        columns = "machine, run_id, ended_by, billed_seconds, cost, currency"
        with DuckDBWarehouse(tmp_path / "w.duckdb").open() as session:
            found = session.query(Statement(f"SELECT {columns} FROM operations.vm_ledger ORDER BY machine"))
        return [tuple(None if pd.isna(value) else value for value in row) for row in found.itertuples(index=False)]

    assert make()[1]["passed"], "nothing has run yet"
    assert rows() == []
    ended, living = new_run(cloud_instance, dg.DagsterRunStatus.SUCCESS), new_run(cloud_instance)
    machines.add_of(living, "mmt-living")
    machines.add_of(ended, "mmt-leaked")
    told, agreement = make()
    [leaked] = agreement["listed_but_never_noted"]
    assert leaked.startswith(f"{ZONE}/mmt-leaked/")
    assert agreement["open_without_a_run"] == [leaked]
    assert not agreement["passed"]
    assert (told["sessions_30_days"], told["open_sessions"]) == (2, 2)

    machines.reap(cloud_instance)
    machines.wait("mmt-leaked", None)
    told, agreement = make()
    assert agreement["passed"], "the leaked one is gone, the living one has its run"
    assert rows() == [
        ("mmt-leaked", ended, "ledger", 60, pytest.approx(0.006), "USD"),
        ("mmt-living", living, None, None, None, "USD"),
    ]
    assert told["cost_30_days"] == pytest.approx(0.006)

    # Somebody notes that a machine is gone which is still listed.
    machine = machines.client.find(ZONE, "mmt-living")
    assert machine is not None
    said = VmSession.of(machine, machines.settings).ended("run", datetime.now(UTC))
    cloud_instance.report_runless_asset_event(said.observation())
    _, agreement = make()
    assert agreement["listed_but_noted_as_gone"] == [said.session_id]
    assert not agreement["passed"]


def test_the_ledger_is_made_when_a_machine_came_or_went(machines: Machines, tmp_path: Path) -> None:
    schedule = vm_ledger_schedule()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:

        def tick() -> Any:
            return schedule(dg.build_schedule_context(instance=instance))

        assert isinstance(tick(), dg.SkipReason)
        machines.add_of(new_run(instance, FAILED))
        machines.reap(instance)
        assert isinstance(tick(), dg.RunRequest)
        instance.report_runless_asset_event(dg.AssetMaterialization(LEDGER_KEY))
        assert isinstance(tick(), dg.SkipReason)
