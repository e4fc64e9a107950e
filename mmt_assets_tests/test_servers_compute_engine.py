"""The Compute Engine of the tests, as Google's own client sees it."""

import json
import uuid
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1 as compute

from mmt_assets_tests.servers.compute_engine.fixture import ComputeEngineServer
from mmt_assets_tests.servers.compute_engine.rules import fingerprint
from mmt_assets_tests.servers.dagster_deployment import wait_until

ZONE = "europe-west1-b"
DONE = compute.Operation.Status.DONE
SLEEPER = "#!/bin/bash\necho hello from inside\nsleep 1000 &\nexec sleep 1001\n"
SPOT = {"provisioningModel": "SPOT", "instanceTerminationAction": "STOP", "automaticRestart": False}


class Cloud:
    """The server with Google's clients for it."""

    def __init__(self, server: ComputeEngineServer) -> None:
        self.server = server
        options: dict[str, Any] = {
            "credentials": AnonymousCredentials(),
            "client_options": {"api_endpoint": server.endpoint},
        }
        self.instances = compute.InstancesClient(**options)
        self.operations = compute.ZoneOperationsClient(**options)
        self.templates = compute.RegionInstanceTemplatesClient(**options)
        self.here: dict[str, Any] = {"project": server.project, "zone": ZONE}

    def insert(self, name: str = "vm-1", *, zone: str = ZONE, request_id: str = "", **fields: Any) -> compute.Operation:
        request: dict[str, Any] = {**self.here, "zone": zone, "instance_resource": {"name": name, **fields}}
        if request_id:
            request["request_id"] = request_id
        return self.instances.insert_unary(request=request)

    def finish(self, operation: compute.Operation) -> compute.Operation:
        place: dict[str, Any] = {**self.here, "zone": operation.zone.rpartition("/")[2], "operation": operation.name}
        return wait_until(lambda: found if (found := self.operations.get(**place)).status == DONE else None, 20, "DONE")

    def get(self, name: str = "vm-1") -> compute.Instance:
        return self.instances.get(**self.here, instance=name)

    def wait(self, status: str | None, name: str = "vm-1") -> None:
        def now() -> str | None:
            try:
                return self.get(name).status
            except exceptions.NotFound:
                return None

        wait_until(lambda: now() == status, 20, f"{name} being {status}")

    def statuses(self, name: str = "vm-1") -> list[str | None]:
        return [event["now"] for event in self.server.history("status") if event["instance"] == name]


@pytest.fixture
def cloud(compute_engine: ComputeEngineServer) -> Cloud:
    return Cloud(compute_engine)


def script(text: str = SLEEPER) -> dict[str, Any]:
    return {"items": [{"key": "startup-script", "value": text}, {"key": "enable-guest-attributes", "value": "TRUE"}]}


def test_a_machine_boots_runs_its_script_stops_starts_again_and_goes(cloud: Cloud) -> None:
    operation = cloud.insert(metadata=script())
    assert operation.status == compute.Operation.Status.RUNNING
    assert cloud.get().status == "PROVISIONING"
    assert cloud.finish(operation).error.errors == []
    assert cloud.get().status == "RUNNING"
    place: dict[str, Any] = {**cloud.here, "instance": "vm-1"}
    wait_until(lambda: "hello" in cloud.instances.get_serial_port_output(**place).contents, 10, "the script's output")
    assert len(cloud.server.processes(ZONE, "vm-1")) == 2

    cloud.finish(cloud.instances.stop_unary(**place))
    assert cloud.get().status == "TERMINATED"
    assert cloud.server.processes(ZONE, "vm-1") == []
    with pytest.raises(exceptions.BadRequest, match="not ready"):
        cloud.instances.get_serial_port_output(**place)
    assert "hello" in cloud.server.serial(ZONE, "vm-1")

    cloud.finish(cloud.instances.start_unary(**place))
    assert cloud.get().status == "RUNNING"
    deletion = cloud.instances.delete_unary(**place)
    assert cloud.get().status == "STOPPING"
    cloud.finish(deletion)
    with pytest.raises(exceptions.NotFound):
        cloud.get()
    booted = ["PROVISIONING", "STAGING", "RUNNING", "STOPPING", "TERMINATED"]
    assert cloud.statuses() == [*booted, *booted, None]


def test_a_request_with_the_same_id_is_done_once(cloud: Cloud) -> None:
    number = str(uuid.uuid4())
    first, second = cloud.insert(request_id=number), cloud.insert(request_id=number)
    assert first == second
    with pytest.raises(exceptions.Conflict, match="already exists"):
        cloud.insert()
    with pytest.raises(exceptions.BadRequest, match="zero UUID"):
        cloud.insert("vm-2", request_id=str(uuid.UUID(int=0)))


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("capacity", "ZONE_RESOURCE_POOL_EXHAUSTED"),
        ("capacity_with_details", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"),
        ("quota", "QUOTA_EXCEEDED"),
    ],
)
def test_an_operation_that_failed_says_so_only_in_its_errors(cloud: Cloud, fault: Any, code: str) -> None:
    cloud.server.inject("insert", fault, zone=ZONE)
    done = cloud.finish(cloud.insert())
    assert [error.code for error in done.error.errors] == [code]
    assert done.http_error_status_code == 0
    assert cloud.server.instances() == {}
    assert cloud.finish(cloud.insert()).error.errors == []


def test_faults_meet_the_calls_that_they_are_for(cloud: Cloud) -> None:
    cloud.server.inject("insert", "unavailable", zone="europe-west1-c")
    cloud.server.inject("insert", "late_unavailable", after=1)
    cloud.insert("vm-1")
    number = str(uuid.uuid4())
    with pytest.raises(exceptions.ServiceUnavailable):
        cloud.insert("vm-2", request_id=number)
    assert (ZONE, "vm-2") in cloud.server.instances(), "the answer was lost, the work was not"
    cloud.insert("vm-2", request_id=number)
    with pytest.raises(exceptions.ServiceUnavailable):
        cloud.insert("vm-3", zone="europe-west1-c")
    assert ("europe-west1-c", "vm-3") not in cloud.server.instances()
    cloud.server.inject("get", "forbidden")
    with pytest.raises(exceptions.Forbidden):
        cloud.get()
    assert cloud.get().name == "vm-1"
    with pytest.raises(AssertionError, match="cannot happen to get"):
        cloud.server.inject("get", "capacity")


def test_an_operation_can_be_lost_while_its_work_is_done(cloud: Cloud) -> None:
    cloud.server.set_pace(wait_seconds=0.2)
    cloud.server.inject("insert", "lost_operation")
    operation = cloud.insert()
    cloud.wait("RUNNING")
    assert cloud.operations.wait(**cloud.here, operation=operation.name).status == compute.Operation.Status.RUNNING
    cloud.server.inject("stop", "stuck_operation")
    cloud.instances.stop_unary(**cloud.here, instance="vm-1")
    assert cloud.get().status == "RUNNING"
    cloud.server.inject("stop", "unknown_operation")
    gone = cloud.instances.stop_unary(**cloud.here, instance="vm-1")
    with pytest.raises(exceptions.NotFound):
        cloud.operations.get(**cloud.here, operation=gone.name)
    cloud.wait("TERMINATED")


def test_labels_and_metadata_are_swapped_only_by_whoever_saw_the_latest(cloud: Cloud) -> None:
    cloud.insert(labels={"role": "analysis"}, metadata=script())
    seen = cloud.get()

    def claim(owner: str) -> compute.Operation:
        body: Any = {"labels": {**seen.labels, "owner": owner}, "label_fingerprint": seen.label_fingerprint}
        return cloud.instances.set_labels_unary(
            **cloud.here, instance="vm-1", instances_set_labels_request_resource=body
        )

    cloud.finish(claim("a"))
    with pytest.raises(exceptions.PreconditionFailed):
        claim("b")
    assert dict(cloud.get().labels) == {"role": "analysis", "owner": "a"}
    metadata: Any = {"fingerprint": seen.metadata.fingerprint, "items": [{"key": "a", "value": "b"}]}
    cloud.instances.set_metadata_unary(**cloud.here, instance="vm-1", metadata_resource=metadata)
    with pytest.raises(exceptions.PreconditionFailed):
        cloud.instances.set_metadata_unary(**cloud.here, instance="vm-1", metadata_resource=metadata)
    assert [item.key for item in cloud.get().metadata.items] == ["a"]
    assert fingerprint({}) != fingerprint({"a": "b"})


def test_what_an_insert_gives_replaces_what_the_template_has(cloud: Cloud) -> None:
    path = cloud.server.add_template(metadata={"startup-script": SLEEPER, "kept": "no"}, labels={"role": "analysis"})
    region: dict[str, Any] = {"project": cloud.server.project, "region": "europe-west1"}
    known = cloud.templates.get(**region, instance_template="mmt-analysis")
    assert {item.key for item in known.properties.metadata.items} == {"startup-script", "kept"}
    body = {"name": "vm-1", "metadata": {"items": [{"key": "mine", "value": "1"}]}}
    cloud.instances.insert_unary(request={**cloud.here, "instance_resource": body, "source_instance_template": path})
    made = cloud.get()
    assert [item.key for item in made.metadata.items] == ["mine"]
    assert dict(made.labels) == {"role": "analysis"}
    assert made.scheduling.instance_termination_action == "DELETE"
    assert made.scheduling.max_run_duration.seconds == 28800


def test_lists_filter_page_and_tell_zones_without_results(cloud: Cloud) -> None:
    for number, zone in enumerate([ZONE, ZONE, "europe-west1-c", "us-east1-b"]):
        labels = {"managed-by": "dagster", "n": str(number)} if number else {"n": "0"}
        cloud.insert(f"vm-{number}", zone=zone, labels=labels)

    def names(text: str, **options: int) -> list[str]:
        request: Any = {"project": cloud.server.project, "filter": text, **options}
        pages = cloud.instances.aggregated_list(request=request)
        return sorted(instance.name for _, scope in pages for instance in scope.instances)

    assert names("labels.managed-by=dagster") == ["vm-1", "vm-2", "vm-3"]
    assert names("labels.managed-by:* AND NOT labels.n=2") == ["vm-1", "vm-3"]
    assert names("(labels.n=0) OR (name = vm-3)", max_results=1) == ["vm-0", "vm-3"]
    assert names('status != "TERMINATED" labels.n=1') == ["vm-1"]
    assert names("name eq vm-[12]") == ["vm-1", "vm-2"]
    assert names("name=vm-*", max_results=3) == ["vm-0", "vm-1", "vm-2", "vm-3"]
    with pytest.raises(exceptions.BadRequest, match="filter"):
        names("labels.n=")
    in_zone = compute.ListInstancesRequest(**cloud.here, max_results=1)
    assert [instance.name for instance in cloud.instances.list(request=in_zone)] == ["vm-0", "vm-1"]
    request: Any = {"project": cloud.server.project, "filter": "labels.n=0"}
    empty = [zone for zone, scope in cloud.instances.aggregated_list(request=request) if scope.warning.code]
    assert sorted(empty) == ["zones/europe-west1-c", "zones/us-east1-b"]


def test_scheduling_changes_only_on_a_machine_that_is_off(cloud: Cloud) -> None:
    cloud.server.add_instance(ZONE, "vm-1")
    limit: Any = {"max_run_duration": {"seconds": 40}, "instance_termination_action": "STOP"}
    place: dict[str, Any] = {**cloud.here, "instance": "vm-1"}
    cloud.finish(cloud.instances.set_scheduling_unary(**place, scheduling_resource=limit))
    cloud.server.set_pace(speed=40)
    cloud.instances.start_unary(**place)
    with pytest.raises(exceptions.BadRequest, match="must be stopped"):
        cloud.instances.set_scheduling_unary(**place, scheduling_resource=limit)
    cloud.wait("TERMINATED")
    assert cloud.server.history("status")[-1]["why"] == "max_run_duration"
    with pytest.raises(exceptions.BadRequest, match="termination action"):
        cloud.insert("vm-2", scheduling={"instance_termination_action": "DELETE"})
    with pytest.raises(exceptions.BadRequest, match="maxRunDuration"):
        cloud.insert("vm-2", scheduling={"max_run_duration": {"seconds": 3}, "instance_termination_action": "STOP"})


def test_a_spot_machine_is_told_and_taken_away_with_what_it_runs(cloud: Cloud) -> None:
    watcher = """#!/bin/bash
preempted=http://$GCE_METADATA_HOST/computeMetadata/v1/instance/preempted
trap '' TERM
until [[ $(curl --silent -H 'Metadata-Flavor: Google' "$preempted") == TRUE ]]; do sleep 0.1; done
echo told
sleep 1000
"""
    cloud.server.set_pace(grace_seconds=6)
    cloud.server.add_instance(ZONE, "vm-1", status="RUNNING", metadata={"startup-script": watcher}, scheduling=SPOT)
    wait_until(lambda: cloud.server.history("script_started"), 10, "the script")
    cloud.server.preempt(ZONE, "vm-1")
    assert cloud.get().status == "STOPPING"
    cloud.wait("TERMINATED")
    assert "told" in cloud.server.serial(ZONE, "vm-1")
    operations = cloud.operations.list(**cloud.here)
    assert [found.operation_type for found in operations] == ["compute.instances.preempted"]
    stopping, terminated = (e["at"] for e in cloud.server.history("status") if e["now"] in ("STOPPING", "TERMINATED"))
    assert terminated - stopping >= 1.5, "the script ignores SIGTERM: it has the whole grace of a Spot machine"
    cloud.server.add_instance(
        ZONE, "vm-2", status="RUNNING", scheduling={**SPOT, "instanceTerminationAction": "DELETE"}
    )
    cloud.server.preempt(ZONE, "vm-2")
    cloud.wait(None, "vm-2")
    cloud.insert("vm-3")
    with pytest.raises(AssertionError, match="not a Spot VM"):
        cloud.server.preempt(ZONE, "vm-3")


def test_the_inside_of_a_machine(cloud: Cloud) -> None:
    text = """#!/bin/bash
get() { curl --silent --fail -H 'Metadata-Flavor: Google' http://$GCE_METADATA_HOST/computeMetadata/v1/$1; }
echo "name=$(get instance/name) zone=$(get instance/zone) project=$(get project/project-id)"
echo "mine=$(get instance/attributes/mine) absent=$(get instance/attributes/absent || echo none)"
curl --silent -o /dev/null -w 'without header %{http_code}\n' http://$GCE_METADATA_HOST/computeMetadata/v1/instance/name
curl --silent -X PUT -H 'Metadata-Flavor: Google' -d done \
  http://$GCE_METADATA_HOST/computeMetadata/v1/instance/guest-attributes/dagster/phase
get instance/service-accounts/default/token && echo
apt-get install something
poweroff
"""
    items = [*script(text)["items"], {"key": "mine", "value": "yes"}]
    cloud.insert(metadata={"items": items})
    cloud.wait("TERMINATED")
    printed = cloud.server.serial(ZONE, "vm-1")
    project = cloud.server.project
    assert f"startup-script: name=vm-1 zone=projects/1/zones/{ZONE} project={project}" in printed
    assert "mine=yes absent=none" in printed
    assert "without header 403" in printed
    assert "apt-get would change the machine" in printed
    token = next(line for line in printed.splitlines() if "access_token" in line)
    assert json.loads(token.removeprefix("startup-script: "))["expires_in"] == 3599
    place: dict[str, Any] = {**cloud.here, "instance": "vm-1"}
    attributes = cloud.instances.get_guest_attributes(request={**place, "query_path": "dagster/"})
    assert [(item.namespace, item.key, item.value) for item in attributes.query_value.items] == [
        ("dagster", "phase", "done")
    ]
    with pytest.raises(exceptions.NotFound):
        cloud.instances.get_guest_attributes(request={**place, "query_path": "dagster/exit"})
    assert cloud.server.history("status")[-1]["why"] == "guest"


def test_google_auth_finds_its_token_inside(cloud: Cloud) -> None:
    text = (
        "#!/bin/bash\npython3.11 -c 'import sys; sys.path[:0] = sys.argv[1:]; import google.auth, "
        "google.auth.transport.requests as r; c, p = google.auth.default(); c.refresh(r.Request()); print(c.token, p)' "
        f"{json.dumps(str(requests.__path__[0]).rpartition('/')[0])}\npoweroff\n"
    )
    cloud.insert(metadata=script(text))
    cloud.wait("TERMINATED")
    assert f"test-token {cloud.server.project}" in cloud.server.serial(ZONE, "vm-1")
