"""A run on the analysis server, one failure after the other: each must end as documented, and leave no machine."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from mmt_assets.gcp.machines import machine_name
from mmt_assets.resources import LocalProcess
from mmt_assets.resources.compute_engine import ServerForDays
from mmt_assets.resources.vm_sessions import noted_sessions
from mmt_assets.sensors.vm_reaper import reap
from mmt_assets_tests.servers.analysis_server import AnalysisServer, failure, messages
from mmt_assets_tests.servers.compute_engine.fixture import ZONES
from mmt_assets_tests.servers.dagster_deployment import wait_until

WELL = ("log busy", "report 7")


def logged(instance: dg.DagsterInstance, text: str) -> bool:
    """Whether some run has said so by now."""
    return any(text in said for run in instance.get_runs() for _, said in messages(instance, run.run_id))


@contextmanager
def meanwhile(act: Any) -> Iterator[None]:
    """Do something in another thread while a run is at work; what goes wrong there fails the test."""
    wrong = list[BaseException]()

    def guarded() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - raised below
            wrong.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        thread.join(120)
    if wrong:
        raise wrong[0]


def the_machine(server: AnalysisServer) -> tuple[str, str]:
    [place] = server.cloud.instances()
    return place


def will_retry(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> bool:
    """Whether the failure says that the same run may succeed; the job's hook asks the same."""
    told, _ = failure(result)
    [event] = [event for event in result.all_events if event.is_step_failure]
    assert instance.get_run_by_id(result.run_id), told
    assert event.step_failure_data.error is not None
    return event.step_failure_data.error.cls_name in ("RetryableFailure", "MachineLostError")


def test_a_run_s_log_is_live_its_results_come_from_the_machine_and_the_machine_is_gone(
    analysis_server: AnalysisServer, cloud_instance: dg.DagsterInstance
) -> None:
    analysis_server.script("log the worker's first words", "require-current", "wait go", "report 7")

    def let_go_when_it_was_heard() -> None:
        wait_until(lambda: logged(cloud_instance, "the worker's first words"), 60, "the log line in the run")
        the_machine(analysis_server)
        (analysis_server.folder / "go").touch()

    with meanwhile(let_go_when_it_was_heard):
        result = analysis_server.run(cloud_instance)
    assert result.success
    [made] = result.asset_materializations_for_node("heavy")
    told = {key: value.value for key, value in made.metadata.items()}
    place = f"{ZONES[0]}/{machine_name(result.run_id, 1)}"
    assert (told["rows"], told["machine"], told["provisioning"]) == (7, place, "on_demand")
    assert told["vm_cost"] == pytest.approx(float(str(told["vm_billed_seconds"])) * 0.0001)
    assert result.run_id in str(told["logs"])
    assert str(told["console"]).endswith(f"/{machine_name(result.run_id, 1)}?project={analysis_server.cloud.project}")
    analysis_server.assert_nothing_is_left()
    [session] = noted_sessions(cloud_instance).values()
    assert (session.ended_by, session.cost) == ("run", told["vm_cost"])


def test_a_zone_without_room_is_passed_over_and_a_context_too_large_for_metadata_goes_through_the_bucket(
    analysis_server: AnalysisServer, cloud_instance: dg.DagsterInstance
) -> None:
    analysis_server.script(*WELL)
    analysis_server.cloud.inject("insert", "capacity_with_details", zone=ZONES[0])
    result = analysis_server.run(cloud_instance, context_bytes=600_000)
    assert result.success
    [made] = result.asset_materializations_for_node("heavy")
    assert str(made.metadata["machine"].value).startswith(f"{ZONES[1]}/")
    assert [blob.name for blob in analysis_server.bucket.list_blobs() if blob.name.endswith("/context.json")]
    analysis_server.assert_nothing_is_left()


def test_without_room_anywhere_all_tries_are_told_spot_and_on_demand(
    analysis_server: AnalysisServer, cloud_instance: dg.DagsterInstance
) -> None:
    analysis_server.cloud.inject("insert", "capacity", times=None)
    result = analysis_server.run(cloud_instance, vm_spot="true")
    told, metadata = failure(result)
    assert will_retry(cloud_instance, result)
    for zone in ZONES:
        for kind in ("spot", "on_demand"):
            assert f"{zone} ({kind})" in told
    assert "ZONE_RESOURCE_POOL_EXHAUSTED" in told
    assert "logs" in metadata
    # A quota is the region's: its other zones are not asked.
    analysis_server.cloud.clear_faults()
    analysis_server.cloud.inject("insert", "quota", times=None)
    before = len(analysis_server.calls("insert"))
    told, _ = failure(analysis_server.run(cloud_instance))
    assert "QUOTA_EXCEEDED" in told
    assert len(analysis_server.calls("insert")) == before + 1


def test_a_machine_whose_worker_never_speaks_is_ended_after_the_boot_deadline(
    analysis_server: AnalysisServer, cloud_instance: dg.DagsterInstance
) -> None:
    analysis_server.cloud.inject("insert", "no_script")
    result = analysis_server.run(cloud_instance, vm_boot_seconds="3")
    told, metadata = failure(result)
    assert "no word of a worker" in told
    assert "MMT_VM_BOOT_SECONDS" in told
    assert "serial_port" in metadata
    assert will_retry(cloud_instance, result)
    analysis_server.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("last", "told", "is_retried"),
    [
        ("kill", "killed (137)", False),
        ("exit 3", "exit code 3 in phase", False),
        ("fail the input is bad", "RuntimeError: the input is bad", False),
    ],
)
def test_a_worker_that_ends_badly_is_told_of_with_its_exit_code_and_not_retried(
    analysis_server: AnalysisServer, cloud_instance: dg.DagsterInstance, last: str, told: str, is_retried: bool
) -> None:
    analysis_server.script("log before the end", "sleep 1", last)
    result = analysis_server.run(cloud_instance)
    description, metadata = failure(result)
    assert told in description
    assert logged(cloud_instance, "before the end")
    if last.startswith("fail"):
        assert "scripted_worker" in metadata["remote_traceback"]
    else:
        assert "startup-script" in metadata["serial_port"]
    assert {"logs", "console", "vm_billed_seconds"} <= metadata.keys()
    assert will_retry(cloud_instance, result) is is_retried
    analysis_server.assert_nothing_is_left()


def test_a_spot_machine_that_is_taken_away_is_replaced_by_one_on_demand(
    analysis_server: AnalysisServer, cloud_instance: dg.DagsterInstance
) -> None:
    analysis_server.script("log busy", "wait go", "report 7")

    def take_away() -> None:
        wait_until(lambda: logged(cloud_instance, "busy"), 60, "the first worker's word")
        analysis_server.cloud.preempt(*the_machine(analysis_server))
        (analysis_server.folder / "go").touch()

    with meanwhile(take_away):
        result = analysis_server.run(cloud_instance, vm_spot="true")
    assert result.success
    [made] = result.asset_materializations_for_node("heavy")
    assert made.metadata["provisioning"].value == "on_demand"
    analysis_server.assert_nothing_is_left()
    kinds = sorted(session.provisioning for session in noted_sessions(cloud_instance).values())
    assert kinds == ["on_demand", "spot"], "both are in the ledger"


def test_a_silent_worker_is_given_up_and_its_machine_ended_although_the_first_calls_fail(
    analysis_server: AnalysisServer, cloud_instance: dg.DagsterInstance
) -> None:
    analysis_server.script("log busy", "wait for-ever")

    def freeze() -> None:
        wait_until(lambda: logged(cloud_instance, "busy"), 60, "the worker's word")
        analysis_server.cloud.inject("delete", "unavailable", times=2)
        analysis_server.cloud.kill(*the_machine(analysis_server), pattern="scripted_worker", number=19)

    with meanwhile(freeze):
        result = analysis_server.run(cloud_instance, vm_silence_seconds="4")
    told, _ = failure(result)
    assert "MMT_VM_SILENCE_SECONDS" in told
    assert will_retry(cloud_instance, result)
    assert [call["status"] for call in analysis_server.calls("delete")] == [503, 503, 200]
    analysis_server.assert_nothing_is_left()


def test_a_machine_that_the_run_cannot_end_is_told_of_and_left_to_the_reaper(
    analysis_server: AnalysisServer, cloud_instance: dg.DagsterInstance
) -> None:
    analysis_server.script(*WELL, "touch ended")
    analysis_server.cloud.inject("delete", "forbidden", times=None)
    # Powering itself off is the machine's own layer: another test's.
    analysis_server.cloud.inject("poweroff", "unavailable", times=None)
    result = analysis_server.run(cloud_instance)
    assert result.success, "the results are there"
    assert logged(cloud_instance, "could not be ended, vm_reaper_sensor will")
    place = the_machine(analysis_server)
    settings, client = analysis_server.settings(), analysis_server.client()
    analysis_server.cloud.clear_faults()
    [told] = reap(cloud_instance, client, settings, datetime.now(UTC))
    assert told == f"{'/'.join(place)}: run {result.run_id} is over (SUCCESS): requested"
    assert client.wait_gone(*place, result.run_id, 20)
    assert reap(cloud_instance, client, settings, datetime.now(UTC)) == [f"{'/'.join(place)} is gone"]
    [session] = noted_sessions(cloud_instance).values()
    assert session.ended_by == "reaper"


def run_in_thread(
    server: AnalysisServer, instance: dg.DagsterInstance, results: list[dg.ExecuteInProcessResult], **changed: Any
) -> threading.Thread:
    thread = threading.Thread(target=lambda: results.append(server.run(instance, **changed)))
    thread.start()
    return thread


def test_two_runs_at_once_have_a_machine_each_and_one_of_them_a_named_one(
    analysis_server: AnalysisServer, cloud_instance: dg.DagsterInstance
) -> None:
    analysis_server.script("log busy", "wait go", "report 7")
    named: dict[str, Any] = {"vm_lifecycle": "named", "vm_name": "mmt-named"}
    analysis_server.add_named_machine("mmt-named")
    results = list[dg.ExecuteInProcessResult]()
    first = run_in_thread(analysis_server, cloud_instance, results, **named)
    wait_until(lambda: logged(cloud_instance, "busy"), 60, "the first worker's word")

    refused = analysis_server.run(cloud_instance, **named)
    told, _ = failure(refused)
    assert "VmBusy" in told
    assert will_retry(cloud_instance, refused)

    second = run_in_thread(analysis_server, cloud_instance, results)
    wait_until(lambda: len(analysis_server.cloud.instances()) == 2, 60, "the second machine")
    (analysis_server.folder / "go").touch()
    for thread in (first, second):
        thread.join(120)
    assert [result.success for result in results] == [True, True]
    assert {place: found["status"] for place, found in analysis_server.cloud.instances().items()} == {
        (ZONES[0], "mmt-named"): "TERMINATED"
    }


def test_one_concert_is_forecast_beside_the_run(
    analysis_server: AnalysisServer, cloud_instance: dg.DagsterInstance
) -> None:
    compute = ServerForDays(server=analysis_server.resource(), beside=LocalProcess(heartbeat_seconds=1))
    job = analysis_server.job(concert_id="c1")

    @dg.asset
    def one(context: dg.AssetExecutionContext) -> None:
        compute.run(context, job)

    result = dg.materialize([one], instance=cloud_instance, raise_on_error=False)
    told, _ = failure(result)
    assert "the worker failed" in told, "a worker beside the run, which found no warehouse in a folder"
    assert analysis_server.cloud.history("call") == analysis_server.calls("templates.insert")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"git_ref": ""}, "commit and push it, or name a commit with MMT_GIT_REF"),
        ({"git_url": ""}, "MMT_GIT_URL is unset"),
        ({"vm_template": ""}, "MMT_VM_TEMPLATE is unset"),
        ({"pipes_bucket": "nobodys-bucket"}, "gs://nobodys-bucket (MMT_PIPES_BUCKET) cannot be written to"),
    ],
)
def test_what_is_missing_is_named_before_a_machine_is_started(
    analysis_server: AnalysisServer, cloud_instance: dg.DagsterInstance, changed: dict[str, Any], told: str
) -> None:
    result = analysis_server.run(cloud_instance, commit="0123-dirty", **changed)
    [event] = [event for event in result.all_events if event.is_step_failure]
    assert told in str(event.step_failure_data.error_display_string)
    assert analysis_server.calls("insert") == []
