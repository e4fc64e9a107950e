"""The ledger of analysis servers: every session, what it cost, and whether the cloud agrees."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pandas as pd

from mmt_assets.assets.catalog import asset_key, catalog_entry, table_asset
from mmt_assets.assets.checks import contract_check_specs, run_contract_checks
from mmt_assets.assets.days import run_fence
from mmt_assets.contracts import VM_LEDGER
from mmt_assets.gcp.machines import MachineList
from mmt_assets.resources import WarehouseResource
from mmt_assets.resources.compute_engine import open_client
from mmt_assets.resources.machine_end import has_ended, note_gone
from mmt_assets.resources.vm_sessions import VmSession, note, noted_sessions
from mmt_assets.settings import Settings
from mmt_assets.warehouse import ReplaceNewer, Slice

AGREES = "agrees_with_the_cloud"
# Sessions that are written again; older ones stay as they were.
_LOOK_BACK = timedelta(days=90)
_EXPLANATION = (
    "Made from what runs and sensors noted (the observations of this asset) and from what Compute Engine lists now."
)


def vm_ledger_asset(settings: Settings) -> dg.AssetsDefinition:
    """The ledger's table."""

    @table_asset(
        key=asset_key(VM_LEDGER),
        check_specs=[
            *contract_check_specs(VM_LEDGER),
            dg.AssetCheckSpec(
                AGREES,
                asset=asset_key(VM_LEDGER),
                description="Every machine that Compute Engine lists is an open session of a run that lives, and every "
                "session of a run that has ended is gone",
            ),
        ],
        **catalog_entry(VM_LEDGER, kinds=("googlecloud", "python"), explanation=_EXPLANATION),
    )
    def vm_ledger(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        now, client = datetime.now(UTC), open_client(settings)
        since = (now - _LOOK_BACK).timestamp()
        listed = client.list_ours()
        noted = noted_sessions(context.instance, since)
        unknown = _note_unknown(context.instance, settings, noted, listed)
        note_gone(context.instance, client, noted.values(), listed, "ledger")
        sessions = noted_sessions(context.instance, since)
        with warehouse.open(context) as session:
            rows = _rows(sessions.values(), now)
            session.write([ReplaceNewer(VM_LEDGER, rows, "session_id", ("recorded_at",))], fence=run_fence(context))
            checks = list(run_contract_checks(session, VM_LEDGER, Slice()))
        yield dg.MaterializeResult(metadata=_summary(sessions.values(), now))
        yield from checks
        yield _agreement(context.instance, sessions, listed, unknown)

    return vm_ledger


def _note_unknown(
    instance: dg.DagsterInstance, settings: Settings, noted: dict[str, VmSession], listed: MachineList
) -> list[str]:
    """Note the sessions of machines that nobody has noted; returns those whose run should have."""
    found = []
    for machine in listed.machines:
        session = VmSession.of(machine, settings)
        if machine.is_gone or session.session_id in noted:
            continue
        if has_ended(instance, machine.run_id):
            found.append(session.session_id)
        noted[session.session_id] = session
        note(instance, session)
    return found


def _rows(sessions: Iterable[VmSession], now: datetime) -> pd.DataFrame:
    """Rows of the contract; instants without a fraction of a millisecond that no clock here keeps."""
    names = VM_LEDGER.column_names
    rows = [{name: now if name == "recorded_at" else getattr(session, name) for name in names} for session in sessions]
    frame = pd.DataFrame(rows, columns=list(names))
    for column in VM_LEDGER.columns:
        if column.type == "TIMESTAMP":
            frame[column.name] = pd.to_datetime(frame[column.name], utc=True)
        elif column.type == "INT64":
            frame[column.name] = frame[column.name].astype("Int64")
        elif column.type == "FLOAT64":
            frame[column.name] = frame[column.name].astype("Float64")
    return frame


def _summary(sessions: Iterable[VmSession], now: datetime) -> dict[str, str | int | float]:
    """Figures of the last thirty days."""
    recent = [session for session in sessions if session.started_at > now - timedelta(days=30)]
    hours = sum(session.billed_seconds or 0 for session in recent) / 3600
    costs = [session.cost for session in recent if session.cost is not None]
    figures: dict[str, str | int | float] = {
        "sessions_30_days": len(recent),
        "open_sessions": sum(session.gone_at is None for session in recent),
        "billed_hours_30_days": round(hours, 3),
    }
    if costs:
        figures |= {"cost_30_days": round(sum(costs), 4), "currency": recent[-1].currency}
    return figures


def _agreement(
    instance: dg.DagsterInstance, sessions: dict[str, VmSession], listed: MachineList, unknown: list[str]
) -> dg.AssetCheckResult:
    up = {
        (machine.zone, machine.name, machine.started_at): machine for machine in listed.machines if not machine.is_gone
    }
    by_place = {(session.zone, session.machine, session.started_at): session for session in sessions.values()}
    listed_but_gone = [
        session.session_id for place, session in by_place.items() if place in up and session.gone_at is not None
    ]
    without_run = [
        session.session_id
        for session in sessions.values()
        if session.gone_at is None and has_ended(instance, session.run_id)
    ]
    return dg.AssetCheckResult(
        check_name=AGREES,
        asset_key=asset_key(VM_LEDGER),
        passed=not (listed_but_gone or without_run or unknown),
        description="vm_reaper_sensor ends machines without a run; look there when this fails twice in a row",
        metadata={
            "listed_but_noted_as_gone": listed_but_gone,
            "open_without_a_run": without_run,
            "listed_but_never_noted": unknown,
            "zones_that_did_not_answer": list(listed.unreachable),
            "listed_machines": len(up),
        },
    )
