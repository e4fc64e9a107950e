"""A machine: its resource as the API shows it, and its life from PROVISIONING to TERMINATED or gone."""

import shutil
import signal
import time
from typing import TYPE_CHECKING, Any, Literal

from mmt_assets_tests.servers.compute_engine import guest, rules
from mmt_assets_tests.servers.compute_engine.errors import not_ready
from mmt_assets_tests.servers.compute_engine.faults import Injection
from mmt_assets_tests.servers.compute_engine.metadata_server import MetadataServer
from mmt_assets_tests.servers.compute_engine.operations import timestamp

if TYPE_CHECKING:
    from mmt_assets_tests.servers.compute_engine.project import Project

Status = Literal["PROVISIONING", "STAGING", "RUNNING", "STOPPING", "TERMINATED"]
BOOTING = ("PROVISIONING", "STAGING")
_POLL_SECONDS = 0.05


class Instance:
    """One machine.

    Guest attributes stay when it is stopped and go when it is deleted.

    Attributes:
        zone: Zone.
        name: Name.
        id: Id, new with each insert.
        status: Status; None once it is gone.
        labels: Labels.
        metadata: Metadata.
        scheduling: Scheduling.
        guest_attributes: Values by `namespace/key`.
    """

    def __init__(self, project: "Project", zone: str, name: str, body: dict[str, Any]) -> None:
        self.project = project
        self.lock = project.lock
        self.zone = zone
        self.name = rules.check_name(name)
        self.labels = rules.check_labels(body.get("labels") or {})
        self.metadata = rules.check_metadata((body.get("metadata") or {}).get("items") or [])
        self.scheduling = rules.check_scheduling(body.get("scheduling") or {})
        self.guest_attributes: dict[str, str] = {}
        self.id = project.new_number()
        self.status: Status | None = None
        self._body = {key: body[key] for key in ("machineType", "disks", "networkInterfaces", "serviceAccounts", "tags")
                      if key in body}  # fmt: skip
        self._times = {"creationTimestamp": timestamp()}
        self._boots = 0
        self._is_preempted = False
        self._is_to_go = False
        self._metadata_server: MetadataServer | None = None
        self.disk = guest.Disk(project.folder / zone / f"{name}-{self.id}")

    @property
    def path(self) -> str:
        return f"projects/{self.project.name}/zones/{self.zone}/instances/{self.name}"

    @property
    def marker(self) -> str:
        return f"{self.project.marker}/{self.id}/"

    @property
    def has_guest_attributes(self) -> bool:
        return self.metadata.get("enable-guest-attributes", "").upper() == "TRUE"

    @property
    def termination_action(self) -> str:
        return self.scheduling.get("instanceTerminationAction", "STOP")

    def resource(self) -> dict[str, Any]:
        """The resource as `get` answers it."""
        base = self.project.base
        return {
            "kind": "compute#instance",
            "id": self.id,
            "name": self.name,
            "zone": f"{base}/zones/{self.zone}",
            "selfLink": f"{base}/zones/{self.zone}/instances/{self.name}",
            "status": self.status,
            "labels": self.labels,
            "labelFingerprint": rules.fingerprint(self.labels),
            "metadata": {
                "kind": "compute#metadata",
                "fingerprint": rules.fingerprint(self.metadata),
                "items": [{"key": key, "value": value} for key, value in self.metadata.items()],
            },
            "scheduling": self.scheduling,
            "fingerprint": rules.fingerprint([self.labels, self.metadata, self.status]),
            **self._body,
            **self._times,
        }

    def seen_from_inside(self) -> dict[str, Any]:
        """What the metadata server shows, as a tree."""
        account = (self._body.get("serviceAccounts") or [{}])[0]
        email = account.get("email", "default@localhost")
        identity = {
            "email": email,
            "scopes": "\n".join(account.get("scopes", [])),
            "aliases": "default",
            "identity": "test-identity",
            "token": {"access_token": "test-token", "expires_in": 3599, "token_type": "Bearer"},
        }
        return {
            "project": {"project-id": self.project.name, "numeric-project-id": "1"},
            "instance": {
                "attributes": {**self.metadata},
                "id": self.id,
                "name": self.name,
                "hostname": f"{self.name}.{self.zone}.c.{self.project.name}.internal",
                "zone": f"projects/1/zones/{self.zone}",
                "machine-type": f"projects/1/machineTypes/{self._body.get('machineType', '').rpartition('/')[2]}",
                "preempted": "TRUE" if self._is_preempted else "FALSE",
                "service-accounts": {"default": identity, email: identity},
                "guest-attributes": _tree(self.guest_attributes) if self.has_guest_attributes else {},
            },
        }

    def put_guest_attribute(self, path: str, value: str) -> None:
        self.guest_attributes[path] = value
        self._record("guest", what=path, value=value)

    def start(self, fault: Injection | None = None) -> None:
        """Begin to boot; does nothing to a machine that is on.

        Raises:
            ApiError: 400 while it is stopping.
        """
        if self.status == "STOPPING":
            raise not_ready(self.path)
        if self.status not in (None, "TERMINATED"):
            return
        self._boots += 1
        boot = self._boots
        self._is_preempted = False
        self._set_status("PROVISIONING", "start")
        self._times["lastStartTimestamp"] = timestamp()
        pace = self.project.pace
        slow = fault.seconds if fault and fault.fault == "slow_boot" else 0.0
        self._later(boot, pace.boot_seconds / 2, lambda: self._set_status("STAGING", "start"))
        self._later(boot, pace.boot_seconds + slow, lambda: self._run(boot, fault))
        if limit := self.scheduling.get("maxRunDuration"):
            seconds = float(limit["seconds"]) / pace.speed
            self._later(boot, seconds, lambda: self.end("max_run_duration", go=self.termination_action == "DELETE"))

    def _run(self, boot: int, fault: Injection | None) -> None:
        self._set_status("RUNNING", "start")
        if fault and fault.fault == "preempt_after":
            self._later(boot, fault.seconds, self.preempt)
        script = self.metadata.get("startup-script")
        if script is not None and not (fault and fault.fault == "no_script"):
            self._run_script(boot, script)

    def _run_script(self, boot: int, script: str) -> None:
        self.disk.fill(self.project.image)
        self._metadata_server = MetadataServer(self, lambda kind: self._power(boot, kind))
        inside = guest.Guest(
            self.disk, f"{self.marker}{boot}", self._metadata_server.port, self.project.guest_environment
        )

        def ended(code: int) -> None:
            with self.lock:
                self._record("script_ended", code=code)

        self._record("script_started", pid=inside.run(script, ended))

    def _power(self, boot: int, kind: str) -> bool:
        """The operating system ends itself, or starts again."""
        with self.lock:
            fault = self.project.faults.take("poweroff", self.zone, self.name)
            self._record("guest", what=kind, failed=fault is not None)
            if fault is not None:
                return False
            if boot == self._boots and self.status == "RUNNING":
                if kind == "reset":
                    self.reset()
                else:
                    self.end("guest")
            return True

    def preempt(self) -> None:
        """Take a Spot machine away: the guest is told, and has the short grace."""
        if self.status in ("RUNNING", *BOOTING):
            self._is_preempted = True
            self.project.add_system_operation("compute.instances.preempted", self)
            self.end("preempted", go=self.termination_action == "DELETE")

    def appear_off(self) -> None:
        """Be there, stopped, as if it had been for long."""
        self._set_status("TERMINATED", "added")

    def vanish(self) -> None:
        """Be gone at once; what ran inside has been killed."""
        self._boots += 1
        self._is_to_go, self.status = True, "TERMINATED"
        self._close_metadata_server()
        self._ended("end of the test")

    def reset(self) -> None:
        """Pull the plug and boot again, with the same metadata."""
        if self.status != "RUNNING":
            raise not_ready(self.path)
        guest.end_all(self.marker)
        self._close_metadata_server()
        self._boots += 1
        self._set_status("RUNNING", "reset")
        if (script := self.metadata.get("startup-script")) is not None:
            self._run_script(self._boots, script)

    def end(self, why: str, *, go: bool = False) -> None:
        """Stop, and delete with `go`; asks the guest first, and waits for it as long as its grace lasts."""
        self._is_to_go = self._is_to_go or go
        if self.status == "STOPPING":
            return
        if self.status == "TERMINATED":
            if self._is_to_go:
                self.project.agenda.after(self.project.pace.stop_seconds, lambda: self._ended(why))
            return
        self._boots += 1
        self._set_status("STOPPING", why)
        guest.send_signal(self.marker, signal.SIGTERM)
        # 120 s on a standard machine, 30 s on Spot, at the cloud's pace.
        grace = self.project.pace.grace_seconds / (4 if self.scheduling["provisioningModel"] == "SPOT" else 1)
        now = time.monotonic()
        self._wait_for_guest(why, now + grace, now + self.project.pace.stop_seconds)

    def _wait_for_guest(self, why: str, deadline: float, not_before: float) -> None:
        left = bool(guest.processes(self.marker))
        now = time.monotonic()
        if now < not_before or (left and now < deadline):
            self.project.agenda.after(_POLL_SECONDS, lambda: self._wait_for_guest(why, deadline, not_before))
            return
        guest.end_all(self.marker)
        self._close_metadata_server()
        self._times["lastStopTimestamp"] = timestamp()
        self._ended(why)

    def _ended(self, why: str) -> None:
        if self.status is None:
            return
        if self.status != "TERMINATED":
            self._set_status("TERMINATED", why)
        if self._is_to_go:
            self._set_status(None, why)
            self.project.instances.pop((self.zone, self.name), None)
            shutil.rmtree(self.disk.folder, ignore_errors=True)

    def _close_metadata_server(self) -> None:
        if self._metadata_server:
            self._metadata_server.close()
            self._metadata_server = None

    def _later(self, boot: int, seconds: float, function: Any) -> None:
        """In so many seconds, if it is still this boot."""
        self.project.agenda.after(seconds, lambda: function() if boot == self._boots else None)

    def _set_status(self, now: Status | None, why: str) -> None:
        was, self.status = self.status, now
        self._record("status", was=was, now=now, why=why, labels=self.labels)

    def _record(self, kind: str, **facts: Any) -> None:
        self.project.history.record(kind, zone=self.zone, instance=self.name, id=self.id, **facts)


def _tree(values: dict[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        namespace, _, key = path.partition("/")
        tree.setdefault(namespace, {})[key] = value
    return tree
