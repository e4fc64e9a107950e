"""Sessions of analysis servers, noted in Dagster's event log as they happen; the ledger's table is made from them.

The log is written by whoever knows first: the run, a sensor, or the ledger itself. A session is told apart by the
machine and the cloud's own time of its start, so that all of them mean the same one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

import dagster as dg

from mmt_assets.contracts import VM_LEDGER
from mmt_assets.gcp.machines import Machine, Provisioning, billed_seconds
from mmt_assets.setting_groups.analysis_server import AnalysisServerSettings

EndedBy = Literal["run", "release_sensor", "finished_sensor", "reaper", "ledger"]
LEDGER_KEY = dg.AssetKey([VM_LEDGER.schema, VM_LEDGER.name])
_CONSOLE = "https://console.cloud.google.com"
_PAGE = 1000


@dataclass(frozen=True)
class VmSession:
    """One machine from its start until it was gone.

    Attributes:
        run_id: Dagster run.
        zone: Zone.
        machine: Name of the machine.
        machine_type: Machine type.
        provisioning: Spot or on demand.
        started_at: When it started (UTC).
        price_per_second: Price of a second, where one is set.
        currency: Currency of the price.
        gone_at: When it was first seen to be gone (UTC); None while it is not.
        ended_by: Who ended it or saw that it had ended.
    """

    run_id: str
    zone: str
    machine: str
    machine_type: str
    provisioning: Provisioning
    started_at: datetime
    price_per_second: float | None
    currency: str
    gone_at: datetime | None = None
    ended_by: EndedBy | None = None

    @classmethod
    def of(cls, machine: Machine, settings: AnalysisServerSettings) -> "VmSession":
        """The session of a machine that works for a run, at the prices of the settings."""
        return cls(
            run_id=machine.run_id,
            zone=machine.zone,
            machine=machine.name,
            machine_type=machine.machine_type or settings.vm_machine_type or "",
            provisioning=machine.provisioning,
            started_at=machine.started_at or datetime.now(UTC),
            price_per_second=settings.price_per_second(is_spot=machine.provisioning == "spot"),
            currency=settings.vm_price_currency,
        )

    @property
    def session_id(self) -> str:
        """Key of the ledger."""
        return f"{self.zone}/{self.machine}/{self.started_at:%Y-%m-%dT%H:%M:%S.%fZ}"

    @property
    def billed_seconds(self) -> int | None:
        """Billed seconds, once it is gone."""
        return None if self.gone_at is None else billed_seconds(self.started_at, self.gone_at)

    @property
    def cost(self) -> float | None:
        """Cost, once it is gone and where a price is set."""
        if self.billed_seconds is None or self.price_per_second is None:
            return None
        return round(self.billed_seconds * self.price_per_second, 6)

    def ended(self, by: EndedBy, at: datetime) -> "VmSession":
        """The session with its end; clocks may differ a little, a session is never shorter than nothing."""
        return replace(self, gone_at=max(at, self.started_at), ended_by=by)

    def observation(self) -> dg.AssetObservation:
        """The event that notes it."""
        told = "is gone" if self.gone_at else "has started"
        values: dict[str, Any] = {
            "session_id": self.session_id,
            "run_id": self.run_id,
            "zone": self.zone,
            "machine": self.machine,
            "machine_type": self.machine_type,
            "provisioning": self.provisioning,
            "started_at": dg.MetadataValue.timestamp(self.started_at),
            "currency": self.currency,
        }
        known = {
            "price_per_second": self.price_per_second,
            "gone_at": dg.MetadataValue.timestamp(self.gone_at) if self.gone_at else None,
            "ended_by": self.ended_by,
            "billed_seconds": self.billed_seconds,
            "cost": self.cost,
        }
        metadata = values | {name: value for name, value in known.items() if value is not None}
        return dg.AssetObservation(LEDGER_KEY, description=f"{self.zone}/{self.machine} {told}", metadata=metadata)


def _from_metadata(metadata: dict[str, Any]) -> VmSession:
    def instant(name: str) -> datetime | None:
        return datetime.fromtimestamp(metadata[name], UTC) if name in metadata else None

    started = instant("started_at")
    if started is None:
        raise ValueError("no started_at")
    names = ("run_id", "zone", "machine", "machine_type", "provisioning", "currency")
    return VmSession(
        **{name: metadata[name] for name in names},
        started_at=started,
        price_per_second=metadata.get("price_per_second"),
        gone_at=instant("gone_at"),
        ended_by=metadata.get("ended_by"),
    )


def noted_sessions(instance: dg.DagsterInstance, since: float = 0.0) -> dict[str, VmSession]:
    """Sessions by id, as they were last noted; the first end that was noted counts.

    Args:
        instance: Dagster instance.
        since: Events from this time on (seconds since 1970); sessions of which only older ones speak are left out.
    """
    sessions = dict[str, VmSession]()
    for observed in _observations(instance, since):
        try:
            session = _from_metadata({name: value.value for name, value in observed.metadata.items()})
        except (KeyError, ValueError, TypeError):
            # Anybody may observe an asset in the UI; what is no session is none.
            continue
        known = sessions.get(session.session_id)
        if known is None or known.gone_at is None:
            sessions[session.session_id] = session
    return sessions


def _observations(instance: dg.DagsterInstance, since: float) -> Iterator[dg.AssetObservation]:
    """Observations of the ledger, oldest first."""
    wanted, cursor = dg.AssetRecordsFilter(LEDGER_KEY, after_timestamp=since), None
    while True:
        page = instance.fetch_observations(wanted, limit=_PAGE, cursor=cursor, ascending=True)
        for record in page.records:
            if record.asset_observation:
                yield record.asset_observation
        if not page.has_more:
            return
        cursor = page.cursor


def links(project: str, run_id: str, zone: str = "", machine: str = "") -> dict[str, dg.MetadataValue]:
    """Links to the run's log lines in Logs Explorer, and to the machine in the console.

    Args:
        project: Google Cloud project.
        run_id: Dagster run: every line of its machines carries it.
        zone: Zone, '' while there is no machine.
        machine: Name of the machine.
    """
    query = quote(f'labels.run_id="{run_id}" OR textPayload:"{run_id}"', safe="")
    found: dict[str, dg.MetadataValue] = {
        "logs": dg.MetadataValue.url(f"{_CONSOLE}/logs/query;query={query}?project={project}")
    }
    if machine:
        place = f"zones/{zone}/instances/{machine}"
        found["console"] = dg.MetadataValue.url(f"{_CONSOLE}/compute/instancesDetail/{place}?project={project}")
    return found


def note(instance: dg.DagsterInstance, session: VmSession) -> None:
    """Note a session outside of its run."""
    instance.report_runless_asset_event(session.observation())
