"""`python -m mmt_assets forecast`: one concert on demand."""

import time
from datetime import date

from mmt_assets.assets.catalog import asset_key
from mmt_assets.build import build_warehouse
from mmt_assets.cli.instance import open_instance
from mmt_assets.cli.runs import failure_reason, run_job
from mmt_assets.cli.terminal import console
from mmt_assets.contracts import CONCERT_FORECAST
from mmt_assets.jobs import CONCERT_JOB
from mmt_assets.partitions import CONCERT_ID, CONCERTS, is_concert_partition_key
from mmt_assets.settings import Settings
from mmt_assets.warehouse import Statement


def forecast_concert(settings: Settings, concert_id: str, as_of: date | None, started: float) -> None:
    """Register the concert's partition if needed, materialise it, print the verdict and where the time went.

    Args:
        settings: Settings.
        concert_id: Concert.
        as_of: As-of date; None for the latest day whose features are complete.
        started: `time.monotonic()` when the command began.

    Raises:
        ValueError: The concert is not known, or its id cannot be a partition.
        RuntimeError: The run failed.
    """
    _require_known(settings, concert_id)
    asset = asset_key(CONCERT_FORECAST)
    ops = {asset.to_python_identifier(): {"config": {"as_of_date": as_of.isoformat()}}} if as_of else None
    with open_instance() as instance:
        if not instance.has_dynamic_partition(str(CONCERTS.name), concert_id):
            instance.add_dynamic_partitions(str(CONCERTS.name), [concert_id])
        ready = time.monotonic()
        result = run_job(instance, settings, CONCERT_JOB, concert_id=concert_id, ops=ops)
        if not result.success:
            raise RuntimeError(failure_reason(result))
        [event] = result.asset_materializations_for_node(asset.to_python_identifier())
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
