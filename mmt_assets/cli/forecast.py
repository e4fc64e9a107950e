"""`python -m mmt_assets forecast` and `scenario`: one concert on demand."""

import time
from collections.abc import Mapping
from datetime import date

from mmt_assets.assets.catalog import asset_key
from mmt_assets.build import build_warehouse
from mmt_assets.cli.instance import open_instance
from mmt_assets.cli.runs import failure_reason, run_job
from mmt_assets.cli.terminal import console
from mmt_assets.contracts import CONCERT_FORECAST, CONCERT_SCENARIOS, TableContract
from mmt_assets.job_names import CONCERT_JOB, SCENARIO_JOB
from mmt_assets.partitions import CONCERT_ID, CONCERTS, is_concert_partition_key
from mmt_assets.settings import Settings
from mmt_assets.warehouse import Statement
from mmt_assets.worker.scenario_request import read_request


def forecast_concert(settings: Settings, concert_id: str, as_of: date | None, started: float) -> None:
    """Forecast one concert, print the verdict and where the time went.

    Args:
        settings: Settings.
        concert_id: Concert.
        as_of: As-of date; None for the latest day whose features are complete.
        started: `time.monotonic()` when the command began.

    Raises:
        ValueError: The concert is not known, or its id cannot be a partition.
        RuntimeError: The run failed.
    """
    config = {"as_of_date": as_of.isoformat()} if as_of else {}
    materialize_concert(settings, CONCERT_JOB, CONCERT_FORECAST, concert_id, config, started)


def suppose(settings: Settings, concert_id: str, changes: Mapping[str, object], started: float) -> None:
    """What if the concert were changed: forecast it both ways, print the difference.

    Args:
        settings: Settings.
        concert_id: Concert.
        changes: Configuration of `forecasts/concert_scenarios`; what is None is left out.
        started: `time.monotonic()` when the command began.

    Raises:
        ValueError: The concert is not known, or the change makes no sense.
        RuntimeError: The run failed.
    """
    config = {name: value for name, value in changes.items() if value is not None}
    # Before Dagster starts, which takes seconds.
    read_request({name: value for name, value in config.items() if name != "as_of_date"})
    materialize_concert(settings, SCENARIO_JOB, CONCERT_SCENARIOS, concert_id, config, started)


def materialize_concert(
    settings: Settings,
    job: str,
    contract: TableContract,
    concert_id: str,
    config: Mapping[str, object],
    started: float,
) -> None:
    """Register the concert's partition if needed, run the job for it, print the verdict and where the time went."""
    _require_known(settings, concert_id)
    op = asset_key(contract).to_python_identifier()
    with open_instance() as instance:
        if not instance.has_dynamic_partition(str(CONCERTS.name), concert_id):
            instance.add_dynamic_partitions(str(CONCERTS.name), [concert_id])
        ready = time.monotonic()
        result = run_job(
            instance, settings, job, concert_id=concert_id, ops={op: {"config": config}} if config else None
        )
        if not result.success:
            raise RuntimeError(failure_reason(result))
        [event] = result.asset_materializations_for_node(op)
    figures = {key: value.value for key, value in event.metadata.items()}
    console.print(f"\n{figures['verdict']}", highlight=False)
    finished = time.monotonic()
    parts = {"start": ready - started, "run": finished - ready}
    parts |= {key.removesuffix("_seconds"): float(str(figures[key])) for key in figures if key.endswith("_seconds")}
    console.print("seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items()), style="dim")


def _require_known(settings: Settings, concert_id: str) -> None:
    if not is_concert_partition_key(concert_id):
        raise ValueError(f"concert id {concert_id!r} cannot be a partition: expected {CONCERT_ID.pattern}")
    known = Statement("SELECT concert_id FROM raw.concerts WHERE concert_id = @id LIMIT 1", {"id": concert_id})
    with build_warehouse(settings).open(read_only=True) as session:
        if session.query(known).empty:
            raise ValueError(
                f"concert {concert_id} is not in raw/concerts; see python -m mmt_assets query "
                '"SELECT concert_id FROM forecasts.concert_outlook"'
            )
