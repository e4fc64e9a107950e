"""Keeps the concert partitions equal to the active concerts."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pandas as pd

from mmt_assets.assets.catalog import asset_key
from mmt_assets.contracts import CONCERT_SALES
from mmt_assets.daily import UNFINISHED
from mmt_assets.job_names import CONCERT_JOB
from mmt_assets.partitions import CONCERTS, is_concert_partition_key
from mmt_assets.resources import WarehouseResource
from mmt_assets.settings import Settings
from mmt_assets.warehouse import Statement, WarehouseBusyError

_NAME = str(CONCERTS.name)
_SALES = asset_key(CONCERT_SALES)
_ACTIVE = ("announced", "on_sale")
# A sensor's tick may take a minute; waiting longer for the file would only hide that it is busy.
_BUSY_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class PartitionChanges:
    """What to do to the partitions.

    Attributes:
        add: Active concerts without a partition.
        remove: Partitions of concerts that are long finished, or that nobody knows.
        rejected: Ids of active concerts that cannot be a partition key.
    """

    add: tuple[str, ...]
    remove: tuple[str, ...]
    rejected: tuple[str, ...]


def partition_changes(
    concerts: pd.DataFrame, existing: set[str], busy: set[str], *, today: date, keep_days: int
) -> PartitionChanges:
    """Compare partitions with concerts.

    Args:
        concerts: `concert_id`, `status` and `show_date` as of the last complete day.
        existing: Partition keys.
        busy: Partition keys with an unfinished run; they stay.
        today: Last complete day.
        keep_days: Days that a finished concert keeps its partition.
    """
    active = set(concerts.loc[concerts["status"].isin(_ACTIVE), "concert_id"])
    shows = pd.to_datetime(concerts["show_date"])
    recent = set(concerts.loc[shows >= pd.Timestamp(today - timedelta(days=keep_days)), "concert_id"])
    valid = {concert for concert in active if is_concert_partition_key(concert)}
    return PartitionChanges(
        add=tuple(sorted(valid - existing)),
        remove=tuple(sorted(existing - active - recent - busy)),
        rejected=tuple(sorted(active - valid)),
    )


def unfinished_concerts(instance: dg.DagsterInstance) -> set[str]:
    """Concerts with a run that is not finished yet."""
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    return {key for run in runs if (key := run.tags.get("dagster/partition"))}


def concert_partition_changes(
    instance: dg.DagsterInstance, warehouse: WarehouseResource, settings: Settings, now: datetime
) -> PartitionChanges:
    """What the partitions need so that they equal the active concerts of the last complete day.

    Raises:
        WarehouseBusyError: Another process holds the warehouse.
    """
    today = settings.last_complete_day(now)
    statement = Statement.from_file("forecasts/concerts_as_of.sql", as_of=today, timezone=settings.timezone)
    with warehouse.open(read_only=True) as session:
        concerts = session.query(statement)
    return partition_changes(
        concerts,
        set(instance.get_dynamic_partitions(_NAME)),
        unfinished_concerts(instance),
        today=today,
        keep_days=settings.finished_partition_days,
    )


def concert_partition_sensor(settings: Settings) -> dg.SensorDefinition:
    """Adds partitions of new concerts and removes those of long finished ones, once a minute."""

    @dg.sensor(
        name="concert_partition_sensor",
        job_name=CONCERT_JOB,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.env == "local" else dg.DefaultSensorStatus.STOPPED,
        description="Keeps the concert partitions equal to the active concerts.",
    )
    def sensor(context: dg.SensorEvaluationContext, warehouse: WarehouseResource) -> dg.SensorResult | dg.SkipReason:
        # The file alone is no sign: the first run makes it long before there are features.
        if not warehouse.exists() or not context.instance.get_latest_materialization_event(_SALES):
            return dg.SkipReason("the warehouse is empty: run the daily job first (make demo)")
        impatient = warehouse.waiting_at_most(_BUSY_TIMEOUT_SECONDS)
        try:
            changes = concert_partition_changes(context.instance, impatient, settings, datetime.now(UTC))
        except WarehouseBusyError as error:
            return dg.SkipReason(f"looking again in a minute: {error}")
        for concert in changes.rejected:
            context.log.warning(f"concert id {concert!r} cannot be a partition: allowed are A-Z a-z 0-9 . _ : -")
        if not changes.add and not changes.remove:
            return dg.SkipReason(f"partitions are up to date ({len(changes.rejected)} concert ids rejected)")
        return dg.SensorResult(
            dynamic_partitions_requests=[
                CONCERTS.build_add_request(list(changes.add)),
                CONCERTS.build_delete_request(list(changes.remove)),
            ]
        )

    return sensor
