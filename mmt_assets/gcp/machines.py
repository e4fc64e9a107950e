"""Machines as this project sees them: whose they are, what they are made from, what they cost."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Lifecycle = Literal["ephemeral", "named"]
Provisioning = Literal["spot", "on_demand"]

RUN_LABEL = "dagster-run-id"
DEPLOYMENT_LABEL = "dagster-deployment"
LIFECYCLE_LABEL = "lifecycle"
_OURS = {"managed-by": "dagster", "role": "analysis"}
# Compute Engine bills a minute at least.
_LEAST_BILLED_SECONDS = 60


@dataclass(frozen=True)
class MachineSpec:
    """What to make a machine from; what is None or empty comes from the template.

    Attributes:
        lifecycle: One for each run and deleted afterwards, or one that is started and stopped.
        template: Instance template, as `regions/R/instanceTemplates/N` or `global/instanceTemplates/N`.
        max_seconds: Longest life: Compute Engine itself ends the machine then.
        provisioning: Spot machines cost less and may be taken away at any moment.
        machine_type: Machine type such as `n2-standard-8`.
        disk_gb: Size of the boot disk.
        service_account: Identity of what runs on the machine.
        scopes: OAuth scopes of that identity.
        external_ip: Whether it may have an external address; without, the template's are left out.
    """

    lifecycle: Lifecycle = "ephemeral"
    template: str = ""
    max_seconds: int = 7200
    provisioning: Provisioning = "spot"
    machine_type: str | None = None
    disk_gb: int | None = None
    service_account: str | None = None
    scopes: tuple[str, ...] = ()
    external_ip: bool = False


@dataclass(frozen=True)
class Machine:
    """What the cloud said of a machine when it was asked.

    Attributes:
        zone: Zone.
        name: Name.
        status: `PROVISIONING`, `STAGING`, `RUNNING`, `STOPPING`, `TERMINATED` and rarer ones.
        labels: Labels.
        machine_type: Machine type, as far as it was told.
        provisioning: Spot or on demand.
        started_at: When it last started (UTC, aware), if ever.
    """

    zone: str
    name: str
    status: str
    labels: dict[str, str]
    machine_type: str = ""
    provisioning: Provisioning = "on_demand"
    started_at: datetime | None = None

    @property
    def run_id(self) -> str:
        """Dagster run that it works for, '' for none."""
        return self.labels.get(RUN_LABEL, "")

    @property
    def lifecycle(self) -> Lifecycle:
        """Without a label it is taken for a named one: stopping can be undone, deleting cannot."""
        return "ephemeral" if self.labels.get(LIFECYCLE_LABEL) == "ephemeral" else "named"

    @property
    def is_down(self) -> bool:
        """Whether it has stopped, so that no processor is billed."""
        return self.status in ("TERMINATED", "STOPPED", "SUSPENDED")

    @property
    def is_coming_or_up(self) -> bool:
        """Whether it boots or runs."""
        return self.status in ("PENDING", "PROVISIONING", "STAGING", "RUNNING", "REPAIRING")

    @property
    def is_gone(self) -> bool:
        """Whether nothing of it is left that its run must end: a named one stays, stopped."""
        return self.is_down and self.lifecycle == "named"

    def is_ours(self, deployment: str) -> bool:
        """Whether this deployment's labels are on it."""
        return own_labels(deployment).items() <= self.labels.items()


@dataclass(frozen=True)
class MachineList:
    """Machines of all zones.

    Attributes:
        machines: Those that were told of.
        unreachable: Zones that did not answer: a machine there is neither here nor gone.
    """

    machines: tuple[Machine, ...]
    unreachable: tuple[str, ...] = ()


def own_labels(deployment: str) -> dict[str, str]:
    """Labels that only machines of this deployment carry."""
    return {**_OURS, DEPLOYMENT_LABEL: deployment}


def run_labels(deployment: str, run_id: str, lifecycle: Lifecycle) -> dict[str, str]:
    """All labels of a machine that works for a run."""
    return {**own_labels(deployment), RUN_LABEL: run_id, LIFECYCLE_LABEL: lifecycle}


def machine_name(run_id: str, attempt: int) -> str:
    """Name of a run's machine: known before it is asked for, so that it can be ended whatever the answer."""
    return f"mmt-analysis-{run_id.replace('-', '')[:12]}-{attempt}"


def billed_seconds(started_at: datetime, gone_at: datetime) -> int:
    """Seconds that are billed for a machine from its start until it was gone; a minute at least."""
    return max(_LEAST_BILLED_SECONDS, math.ceil((gone_at - started_at).total_seconds()))
