"""Which days a run is for, and whether the days before them are there."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg

from mmt_assets.partitions import day_ranges, days_between
from mmt_assets.settings import Settings
from mmt_assets.warehouse import Fence, Slice


@dataclass(frozen=True)
class DayRange:
    """Days of a run.

    Attributes:
        first: First day asked for.
        last: Last day asked for.
        reload_from: First day that is read again with them.
    """

    first: date
    last: date
    reload_from: date

    @property
    def slice(self) -> Slice:
        """Days to replace, the ones that are read again included."""
        return Slice(first=self.reload_from, last=self.last)

    @property
    def fenced(self) -> Slice:
        """The days asked for."""
        return Slice(first=self.first, last=self.last)

    def days(self) -> list[date]:
        """The days asked for."""
        return days_between(self.first, self.last)


def requested_days(context: dg.AssetExecutionContext, settings: Settings) -> DayRange:
    """The run's range of partitions, and the reload window before it."""
    keys = context.partition_key_range
    first, last = date.fromisoformat(keys.start), date.fromisoformat(keys.end)
    reload_from = max(settings.partitions_start(), first - timedelta(days=settings.reload_days))
    return DayRange(first, last, reload_from)


def run_fence(context: dg.AssetExecutionContext) -> Fence:
    """The run and when it was created."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    if record is None:
        raise dg.Failure(f"run {context.run.run_id} is not in the instance that executes it")
    return Fence(context.run.run_id, record.create_timestamp)


def materialized_days(instance: dg.DagsterInstance, asset: dg.AssetKey) -> set[date]:
    """Days of an asset that were materialised at least once."""
    return {date.fromisoformat(key) for key in instance.get_materialized_partitions(asset)}


def missing_days(instance: dg.DagsterInstance, assets: Iterable[dg.AssetKey], first: date, last: date) -> set[date]:
    """Days from `first` to `last` that at least one of the assets lacks."""
    wanted = set(days_between(first, last)) if first <= last else set()
    return set().union(*(wanted - materialized_days(instance, asset) for asset in assets))


def require_days(context: dg.AssetExecutionContext, assets: Iterable[dg.AssetKey], first: date, last: date) -> None:
    """Refuse to run when one of these days is not materialised.

    Raises:
        dagster.Failure: Days are missing; they are named.
    """
    assets = list(assets)
    if missing := missing_days(context.instance, assets, first, last):
        names = ", ".join(asset.to_user_string() for asset in assets)
        raise dg.Failure(f"{names}: not materialised for {day_ranges(missing)}: materialise these days first.")


def require_history(
    context: dg.AssetExecutionContext, assets: Iterable[dg.AssetKey], settings: Settings, last: date
) -> None:
    """Refuse to run when an earlier day of the history is not materialised. An empty day is, once it was run.

    Raises:
        dagster.Failure: Days are missing; they are named.
    """
    assets = list(assets)
    if missing := missing_days(context.instance, assets, settings.partitions_start(), last):
        names = ", ".join(asset.to_user_string() for asset in assets)
        raise dg.Failure(
            f"{names}: not materialised for {day_ranges(missing)}. This asset depends on the whole history: "
            f"materialise these days first."
        )


def last_day_with_history(
    instance: dg.DagsterInstance, assets: Iterable[dg.AssetKey], settings: Settings
) -> date | None:
    """The latest day up to which all assets are materialised without a gap, or None."""
    complete = set[date].intersection(*(materialized_days(instance, asset) for asset in assets))
    day = settings.partitions_start()
    while day in complete:
        day += timedelta(days=1)
    last = day - timedelta(days=1)
    return last if last in complete else None
