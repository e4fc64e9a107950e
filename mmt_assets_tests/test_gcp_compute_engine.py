"""The client of the analysis server's machines, through Google's own client against a server of Compute Engine."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud import compute_v1

from mmt_assets.gcp.compute_engine import ComputeEngine
from mmt_assets.gcp.compute_errors import CapacityError, ComputeError, QuotaError, VmBusyError
from mmt_assets.gcp.instance_bodies import instance_body
from mmt_assets.gcp.machines import MachineSpec, billed_seconds, run_labels
from mmt_assets_tests.servers.compute_engine.fixture import ZONES, ComputeEngineServer
from mmt_assets_tests.servers.dagster_deployment import wait_until

ZONE, NAME, RUN = ZONES[0], "mmt-analysis-1", "11111111-2222-3333-4444-555555555555"
OTHER_RUN = "99999999-2222-3333-4444-555555555555"
SLEEPER = {"startup-script": "#!/bin/bash\nsleep 1000\n", "enable-guest-attributes": "TRUE"}


def client_of(server: ComputeEngineServer, **changed: Any) -> ComputeEngine:
    arguments = {"deployment": "tests", "endpoint": server.endpoint, "patience": 5.0, "operation_seconds": 5.0}
    return ComputeEngine(server.project, **{**arguments, **changed})


@pytest.fixture
def spec(compute_engine: ComputeEngineServer) -> MachineSpec:
    return MachineSpec(template=compute_engine.add_template(metadata=SLEEPER, labels={"role": "analysis", "cost": "x"}))


def create(client: ComputeEngine, spec: MachineSpec) -> None:
    machine = client.create(ZONE, NAME, RUN, spec, {"dagster-run-id": RUN})
    assert (machine.name, machine.run_id, machine.lifecycle) == (NAME, RUN, "ephemeral")


def calls(server: ComputeEngineServer, method: str) -> list[dict[str, Any]]:
    return [event for event in server.history("call") if event["method"] == method]


def test_a_machine_is_made_from_its_template_lives_and_is_gone_by_a_fresh_look(
    compute_engine: ComputeEngineServer, spec: MachineSpec
) -> None:
    client = client_of(compute_engine)
    create(client, spec)
    made = compute_engine.instances()[ZONE, NAME]
    metadata = {item["key"]: item["value"] for item in made["metadata"]["items"]}
    assert metadata == {**SLEEPER, "dagster-run-id": RUN}, "what is sent replaces the template's, so it is merged"
    assert made["labels"] == {**run_labels("tests", RUN, "ephemeral"), "cost": "x"}
    assert made["scheduling"]["provisioningModel"] == "SPOT"
    assert made["scheduling"]["maxRunDuration"] == {"seconds": "7200"}
    assert made["scheduling"]["instanceTerminationAction"] == "DELETE"
    assert made["scheduling"]["automaticRestart"] is False

    [listed] = client.list_ours().machines
    assert (listed.zone, listed.name, listed.provisioning) == (ZONE, NAME, "spot")
    assert client.release(ZONE, NAME, RUN) == "requested"
    assert client.wait_gone(ZONE, NAME, RUN, 20)
    assert client.find(ZONE, NAME) is None
    assert client.release(ZONE, NAME, RUN) == "gone"


@pytest.mark.parametrize(
    ("fault", "error"),
    [("capacity", CapacityError), ("capacity_with_details", CapacityError), ("quota", QuotaError)],
)
def test_an_operation_that_fails_without_a_status_is_read_as_what_it_is(
    compute_engine: ComputeEngineServer, spec: MachineSpec, fault: Any, error: type[Exception]
) -> None:
    compute_engine.inject("insert", fault)
    with pytest.raises(error, match=rf"creating {ZONE}/{NAME}"):
        create(client_of(compute_engine), spec)
    assert compute_engine.instances() == {}


@pytest.mark.parametrize("fault", ["lost_operation", "unknown_operation", "late_unavailable", "too_many"])
def test_a_machine_that_came_is_had_whatever_became_of_the_answer(
    compute_engine: ComputeEngineServer, spec: MachineSpec, fault: Any
) -> None:
    compute_engine.inject("insert", fault)
    create(client_of(compute_engine), spec)
    assert list(compute_engine.instances()) == [(ZONE, NAME)]


def test_an_operation_that_does_nothing_is_an_error_after_its_time(
    compute_engine: ComputeEngineServer, spec: MachineSpec
) -> None:
    compute_engine.inject("insert", "stuck_operation")
    with pytest.raises(ComputeError, match="not done after 1 s, and nothing came of it"):
        create(client_of(compute_engine, operation_seconds=1.0), spec)


def test_a_service_that_does_not_answer_is_an_error_after_the_patience(
    compute_engine: ComputeEngineServer, spec: MachineSpec
) -> None:
    compute_engine.inject("insert", "unavailable", times=None)
    with pytest.raises(ComputeError, match="no answer over 1 s"):
        create(client_of(compute_engine, patience=1.0), spec)
    assert len(calls(compute_engine, "insert")) > 1


def test_a_missing_template_is_named(compute_engine: ComputeEngineServer) -> None:
    with pytest.raises(ComputeError, match=r"regions/r/instanceTemplates/none: there is none \(MMT_VM_TEMPLATE\)"):
        create(client_of(compute_engine), MachineSpec(template="regions/r/instanceTemplates/none"))


def test_a_deletion_that_was_promised_and_not_done_is_asked_for_again(
    compute_engine: ComputeEngineServer, spec: MachineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmt_assets.gcp.compute_engine._ASK_AGAIN_SECONDS", 0.5)
    client = client_of(compute_engine)
    create(client, spec)
    compute_engine.inject("delete", "operation_failed")
    assert client.release(ZONE, NAME, RUN) == "requested"
    assert not client.wait_gone(ZONE, NAME, RUN, 0), "it is still listed, so it is not gone"
    assert client.wait_gone(ZONE, NAME, RUN, 20)
    assert len(calls(compute_engine, "delete")) == 2


def statuses(server: ComputeEngineServer) -> set[str]:
    return {found["status"] for found in server.instances().values()}


FOREIGN_LABELS = {
    "none at all": {},
    "another's": {"managed-by": "terraform", "role": "analysis"},
    "another deployment's": run_labels("staging", RUN, "ephemeral"),
    "another role's": {**run_labels("tests", RUN, "ephemeral"), "role": "web"},
    "another run's": run_labels("tests", OTHER_RUN, "ephemeral"),
}


@pytest.mark.parametrize("status", ["RUNNING", "TERMINATED"])
def test_machines_with_foreign_labels_are_never_touched(compute_engine: ComputeEngineServer, status: str) -> None:
    names = {whose: f"{'mmt-analysis' if n % 2 else 'web'}-{n}" for n, whose in enumerate(FOREIGN_LABELS)}
    for whose, labels in FOREIGN_LABELS.items():
        compute_engine.add_instance(ZONE, names[whose], labels=labels, status=status)
    wait_until(lambda: statuses(compute_engine) == {status}, 20, f"all being {status}")
    client = client_of(compute_engine)
    for whose, name in names.items():
        assert client.release(ZONE, name, RUN) == "not_ours", whose
    assert [machine.run_id for machine in client.list_ours().machines] == [OTHER_RUN]
    assert statuses(compute_engine) == {status}
    assert calls(compute_engine, "delete") + calls(compute_engine, "stop") == []


NAMED = MachineSpec("named", provisioning="on_demand")


def take(client: ComputeEngine, run_id: str, *, ended: tuple[str, ...] = ()) -> str:
    try:
        client.claim_and_start(ZONE, "mmt-named", run_id, NAMED, {"dagster-run-id": run_id}, ended.__contains__)
    except VmBusyError as error:
        return str(error)
    return "started"


def test_a_named_machine_is_started_for_one_run_after_the_other(compute_engine: ComputeEngineServer) -> None:
    compute_engine.add_instance(ZONE, "mmt-named", labels={"role": "analysis"}, metadata=SLEEPER)
    client = client_of(compute_engine)
    assert take(client, RUN) == "started"
    assert take(client, OTHER_RUN) == f"{ZONE}/mmt-named is at work for run {RUN}"
    assert client.release(ZONE, "mmt-named", RUN) == "requested"
    assert client.wait_gone(ZONE, "mmt-named", RUN, 20)
    assert compute_engine.instances()[ZONE, "mmt-named"]["status"] == "TERMINATED"
    # The run before is over, whether it stopped the machine or left it running.
    assert take(client, OTHER_RUN, ended=(RUN,)) == "started"
    assert take(client, RUN, ended=(OTHER_RUN,)) == "started"
    made = compute_engine.instances()[ZONE, "mmt-named"]
    assert {item["key"]: item["value"] for item in made["metadata"]["items"]} == {**SLEEPER, "dagster-run-id": RUN}
    assert made["scheduling"]["instanceTerminationAction"] == "STOP"


def test_of_two_runs_that_want_a_named_machine_at_once_one_gets_it(compute_engine: ComputeEngineServer) -> None:
    compute_engine.add_instance(ZONE, "mmt-named", labels={"role": "analysis"}, metadata=SLEEPER)
    told, meet = dict[str, str](), threading.Barrier(2)

    def contend(run_id: str) -> None:
        client = client_of(compute_engine)
        meet.wait(30)
        told[run_id] = take(client, run_id)

    threads = [threading.Thread(target=contend, args=(run_id,)) for run_id in (RUN, OTHER_RUN)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    [winner] = [run_id for run_id, words in told.items() if words == "started"]
    assert compute_engine.instances()[ZONE, "mmt-named"]["labels"]["dagster-run-id"] == winner


@pytest.mark.parametrize(
    ("labels", "status", "told"),
    [
        ({}, "TERMINATED", "not an analysis server of tests"),
        ({"role": "analysis", "managed-by": "ansible"}, "TERMINATED", "not an analysis server of tests"),
        (run_labels("staging", RUN, "named"), "TERMINATED", "not an analysis server of tests"),
        ({"role": "analysis"}, "RUNNING", "started by hand"),
    ],
)
def test_a_named_machine_of_somebody_else_is_left_alone(
    compute_engine: ComputeEngineServer, labels: dict[str, str], status: str, told: str
) -> None:
    compute_engine.add_instance(ZONE, "mmt-named", labels=labels, status=status)
    before = compute_engine.instances()
    assert told in take(client_of(compute_engine), RUN, ended=(RUN,))
    assert compute_engine.instances() == before


def test_what_differs_from_the_template_is_sent_whole() -> None:
    template = compute_v1.InstanceProperties(
        machine_type="e2-standard-2",
        disks=[
            compute_v1.AttachedDisk(
                boot=True,
                auto_delete=True,
                initialize_params=compute_v1.AttachedDiskInitializeParams(
                    source_image="projects/debian-cloud/global/images/family/debian-12", disk_type="pd-balanced"
                ),
            )
        ],
        network_interfaces=[
            compute_v1.NetworkInterface(
                subnetwork="regions/r/subnetworks/s", access_configs=[compute_v1.AccessConfig(name="External NAT")]
            )
        ],
        service_accounts=[compute_v1.ServiceAccount(email="default", scopes=["https://scope"])],
    )

    def body(**changed: Any) -> compute_v1.Instance:
        return instance_body(MachineSpec(**changed), template, zone=ZONE, name=NAME, labels={}, metadata={})

    plain = body()
    assert (plain.machine_type, list(plain.disks), list(plain.service_accounts)) == ("", [], [])
    assert plain.network_interfaces[0].subnetwork == "regions/r/subnetworks/s"
    assert not plain.network_interfaces[0].access_configs, "no external address by default"
    assert not body(external_ip=True).network_interfaces, "then the template's stand"
    changed = body(machine_type="n2-standard-16", disk_gb=100, service_account="me@p.iam.gserviceaccount.com")
    assert changed.machine_type == f"zones/{ZONE}/machineTypes/n2-standard-16"
    [disk] = changed.disks
    assert (disk.initialize_params.disk_size_gb, disk.auto_delete) == (100, True)
    assert disk.initialize_params.disk_type == f"zones/{ZONE}/diskTypes/pd-balanced"
    assert disk.initialize_params.source_image.endswith("debian-12")
    assert (changed.service_accounts[0].email, list(changed.service_accounts[0].scopes)) == (
        "me@p.iam.gserviceaccount.com",
        ["https://scope"],
    )


def test_a_minute_is_billed_at_least() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert billed_seconds(start, start + timedelta(seconds=3)) == 60
    assert billed_seconds(start, start + timedelta(seconds=61.2)) == 62
