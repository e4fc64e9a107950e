"""`make demo-gcp-local`: a day with MMT_ENV=gcp, from the message that asks for it to the ledger; no account needed.

Real: Dagster's code server and daemon, the assets, Google's clients, the startup script, the worker on "the machine",
each in a process of its own. Not real: BigQuery, Cloud Storage, Pub/Sub and Compute Engine are emulators and test
servers on 127.0.0.1, and a machine is a group of processes.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from rich import box
from rich.table import Table

from mmt_assets.assets.run_once import AS_OF_TAG
from mmt_assets.build import build_warehouse
from mmt_assets.cli.terminal import console
from mmt_assets.contracts import CONCERT_OUTLOOK, VM_LEDGER
from mmt_assets.daily import CATCH_UP_TAG, daily_run_request
from mmt_assets.job_names import LEDGER_JOB
from mmt_assets.warehouse import Statement
from mmt_assets.warehouse.compose import compose, table
from mmt_assets_tests.local_cloud.cloud import LocalCloud, running_cloud
from mmt_assets_tests.servers.compute_engine.image import ROOT
from mmt_assets_tests.servers.dagster_deployment import Deployment

_LAST_DAY, _DAYS = date(2026, 10, 15), 45
_POLL_SECONDS = 0.3


def main() -> None:
    """Play the day."""
    parser = argparse.ArgumentParser(prog="python -m mmt_assets_tests.local_cloud", description=__doc__)
    parser.add_argument("--days", type=int, default=_DAYS, help="days of history in the source")
    parser.add_argument("--minutes", type=float, default=20, help="when to give up")
    arguments = parser.parse_args()
    first = _LAST_DAY - timedelta(days=arguments.days)
    with tempfile.TemporaryDirectory(prefix="mmt-gcp-local-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        console.rule("BigQuery, Cloud Storage, Pub/Sub and Compute Engine on 127.0.0.1")
        with running_cloud(folder, first, _LAST_DAY) as cloud:
            _play(cloud, folder, arguments.minutes * 60)


def _play(cloud: LocalCloud, folder: Path, seconds: float) -> None:
    project = folder / "project"
    project.mkdir()
    shutil.copy(ROOT / "dagster.yaml", project)
    # The message asks for the day; the schedule of these hours does not.
    quiet = (datetime.now(UTC) - timedelta(hours=1)).strftime("%H:%M")
    deployment = Deployment(
        project, **{**cloud.settings, "MMT_DAILY_AT": quiet, "MMT_HEARTBEAT_SECONDS": "5", "MMT_TIMEZONE": "UTC"}
    )
    deployment.environment.update(cloud.environment)
    try:
        deployment.command("prepare")
        if cloud.pubsub:
            deployment.command("pubsub", "setup")
        deployment.up()
        # Its directories are relative.
        os.chdir(project)
        with dg.DagsterInstance.from_config(str(project)) as instance:
            console.rule("The day is asked for: its history is loaded first")
            _ask(cloud, deployment, instance)
            run = _follow(cloud, instance, deployment, seconds)
            _print_machines(cloud, instance, run)
            _print_ledger(instance, deployment, seconds)
    finally:
        deployment.down()


def _ask(cloud: LocalCloud, deployment: Deployment, instance: dg.DagsterInstance) -> None:
    """By message, as Cloud Scheduler does; without Pub/Sub's emulator by what the message's sensor calls."""
    if cloud.pubsub:
        deployment.command("request", "daily")
        console.print("a message asks for the day")
        return
    console.print("Pub/Sub's emulator is not installed: the day is asked for without a message")
    request = daily_run_request(instance, deployment.settings, _LAST_DAY)
    assert isinstance(request, dg.RunRequest), request
    deployment.launch(instance, request)


def _follow(cloud: LocalCloud, instance: dg.DagsterInstance, deployment: Deployment, seconds: float) -> dg.DagsterRun:
    """Print what happens until the day's run is over and no machine is left."""
    began, seen, told, is_asked_again = time.monotonic(), 0, set[str](), False
    while time.monotonic() - began < seconds:
        events = cloud.compute.history(since=seen)
        seen += len(events)
        for line in (*_machine_lines(events), *_run_lines(instance, told)):
            console.print(f"{time.monotonic() - began:7.1f} s  {line}", highlight=False, markup=False)
        history = dg.RunsFilter(tags={CATCH_UP_TAG: _LAST_DAY.isoformat()}, statuses=[dg.DagsterRunStatus.SUCCESS])
        if not is_asked_again and instance.get_runs(history):
            is_asked_again = True
            console.rule("The history is there: the day is asked for again, and forecast on a machine")
            _ask(cloud, deployment, instance)
        [run] = instance.get_runs(dg.RunsFilter(tags={AS_OF_TAG: _LAST_DAY.isoformat()}), limit=1) or [None]
        if run and run.is_finished and not cloud.compute.instances():
            if run.status != dg.DagsterRunStatus.SUCCESS:
                raise SystemExit(f"run {run.run_id} is {run.status.value}\n{deployment.logs()}")
            return run
        time.sleep(_POLL_SECONDS)
    raise SystemExit(f"the day was not made within {seconds:.0f} s\n{deployment.logs()}")


def _machine_lines(events: list[dict[str, Any]]) -> Iterator[str]:
    for event in events:
        machine = f"{event.get('zone')}/{event.get('instance')}"
        if event["kind"] == "status":
            yield f"{machine}: {event['now'] or 'gone'} ({event['why']})"
        elif event["kind"] == "guest" and "value" in event:
            name = event["what"].removeprefix("dagster/").partition("-")[0]
            yield f"{machine}: says {name} {event['value']}"


def _run_lines(instance: dg.DagsterInstance, told: set[str]) -> Iterator[str]:
    for run in reversed(instance.get_runs(limit=10)):
        status = f"run {run.run_id[:8]} ({run.job_name}): {run.status.value}"
        if status not in told:
            told.add(status)
            yield status


def _print_machines(cloud: LocalCloud, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Where the time of the day's run went."""
    materialisations = instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
    ).records
    for record in materialisations:
        materialisation = record.asset_materialization
        if materialisation and "vm_billed_seconds" in materialisation.metadata:
            console.rule(f"What the materialisation of {'/'.join(materialisation.asset_key.path)} says")
            for name, value in materialisation.metadata.items():
                if name.startswith(("machine", "vm_")) or name in ("provisioning", "logs", "console"):
                    console.print(f"{name:>24}  {value.value}", highlight=False, markup=False)
            break
    ended = next(e["at"] for e in cloud.compute.history("guest") if e["what"].startswith("dagster/exit"))
    asked = next(e["at"] for e in cloud.compute.history("call") if e["method"] in ("delete", "stop"))
    console.print(f"{'worker over to stop call':>24}  {max(asked - ended, 0):.2f} s", highlight=False)


def _print_ledger(instance: dg.DagsterInstance, deployment: Deployment, seconds: float) -> None:
    run_id = deployment.launch(instance, dg.RunRequest(job_name=LEDGER_JOB))
    deadline = time.monotonic() + seconds
    while (run := instance.get_run_by_id(run_id)) and not run.is_finished and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    rows = compose("SELECT * FROM {name} ORDER BY started_at", name=table(VM_LEDGER.table))
    concerts = compose("SELECT COUNT(*) AS concerts FROM {name}", name=table(CONCERT_OUTLOOK.table))
    with build_warehouse(deployment.settings).open(read_only=True) as session:
        ledger, counted = session.query(Statement(rows)), session.query(Statement(concerts))
    shown = ("run_id", "zone", "machine", "provisioning", "billed_seconds", "cost", "currency", "ended_by")
    printed = Table(title=f"operations.vm_ledger; {counted['concerts'][0]} rows of outlook", box=box.SIMPLE_HEAD)
    for name in shown:
        printed.add_column(name, no_wrap=name != "run_id")
    for row in ledger.itertuples():
        printed.add_row(*(str(getattr(row, name))[:36] for name in shown))
    console.print(printed)


if __name__ == "__main__":
    main()
