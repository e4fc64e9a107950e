"""What Dagster's instance forgets, so that it is as fast after years as on its first day.

A run that ended long ago loses its log. The last materialisation of each partition stays, whatever its age: it is how
Dagster, and everything here that asks for missing days, knows that a day was made. A run of which nothing stays is
deleted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from sqlalchemy import Connection, Select, Table, and_, delete, func, select

from mmt_assets.job_names import RETENTION_JOB
from mmt_assets.jobs import retry_when_worthwhile
from mmt_assets.settings import Settings

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
# On a run of which the last materialisations were kept: there is nothing more to forget.
KEPT_TAG = "mmt/log_forgotten_on"
# Runs per transaction: writers wait no longer than for these.
_CHUNK = 200
_STAYS = (dg.DagsterEventType.ASSET_MATERIALIZATION.value, dg.DagsterEventType.ASSET_OBSERVATION.value)


@dataclass
class Forgotten:
    """What was forgotten.

    Attributes:
        runs: Runs that were deleted.
        emptied_runs: Runs that keep only what they made last.
        events: Events.
        check_results: Results of checks that a newer one stands for.
    """

    runs: int = 0
    emptied_runs: int = 0
    events: int = 0
    check_results: int = 0


def forget_old_runs(instance: dg.DagsterInstance, settings: Settings, now: datetime) -> Forgotten:
    """Forget the logs of runs that ended more than MMT_KEEP_RUNS_DAYS ago, the oldest first.

    Args:
        instance: Dagster instance with an SQL event log, as all of Dagster's own are.
        settings: Settings.
        now: The present instant (aware).

    Raises:
        dagster.Failure: The instance's event log is of another kind.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise dg.Failure(f"{type(storage).__name__} is no SQL event log: its old runs cannot be forgotten here")
    forgotten = Forgotten()
    for runs in _old_runs(instance, now - timedelta(days=settings.keep_runs_days)):
        with storage.index_transaction() as connection:
            forgotten.events += _delete_events(connection, runs)
            forgotten.check_results += _delete_check_results(connection, runs)
            kept = _runs_with_events(connection, runs)
        for run_id in runs:
            instance.compute_log_manager.delete_logs(prefix=[run_id])
            if run_id in kept:
                instance.add_run_tags(run_id, {KEPT_TAG: now.date().isoformat()})
            else:
                instance.delete_run(run_id)
        forgotten.emptied_runs += len(kept)
        forgotten.runs += len(runs) - len(kept)
    return forgotten


def _old_runs(instance: dg.DagsterInstance, before: datetime) -> Iterator[list[str]]:
    """Ids of finished runs that ended before, with a log still, in chunks."""
    records = instance.get_run_records(dg.RunsFilter(statuses=FINISHED, updated_before=before), ascending=True)
    runs = [record.dagster_run.run_id for record in records if KEPT_TAG not in record.dagster_run.tags]
    for start in range(0, len(runs), _CHUNK):
        yield runs[start : start + _CHUNK]


def _latest(table: Table, *of_each: str) -> Select[tuple[int]]:
    """Query: the youngest row of each group; nulls are one group."""
    return select(func.max(table.c.id)).group_by(*(table.c[name] for name in of_each))


def _delete_events(connection: Connection, runs: Sequence[str]) -> int:
    events = SqlEventLogStorageTable
    made = events.c.dagster_event_type.in_(_STAYS)
    stays = _latest(events, "asset_key", "dagster_event_type", "partition").where(made)
    doomed = and_(events.c.run_id.in_(runs), events.c.id.not_in(stays))
    connection.execute(
        delete(AssetEventTagsTable).where(AssetEventTagsTable.c.event_id.in_(select(events.c.id).where(doomed)))
    )
    return connection.execute(delete(events).where(doomed)).rowcount


def _delete_check_results(connection: Connection, runs: Sequence[str]) -> int:
    checks = AssetCheckExecutionsTable
    stays = _latest(checks, "asset_key", "check_name", "partition")
    return connection.execute(delete(checks).where(checks.c.run_id.in_(runs), checks.c.id.not_in(stays))).rowcount


def _runs_with_events(connection: Connection, runs: Sequence[str]) -> set[str]:
    events = SqlEventLogStorageTable
    return set(connection.execute(select(events.c.run_id).where(events.c.run_id.in_(runs)).distinct()).scalars())


def retention_job(settings: Settings) -> dg.JobDefinition:
    """Forgets old runs."""

    @dg.op(description="Logs of runs that ended more than MMT_KEEP_RUNS_DAYS ago.")
    def forget(context: dg.OpExecutionContext) -> None:
        forgotten = forget_old_runs(context.instance, settings, datetime.now(UTC))
        context.log.info(
            f"{forgotten.runs} runs deleted, {forgotten.emptied_runs} keep only what they made last; "
            f"{forgotten.events} events and {forgotten.check_results} results of checks are gone"
        )

    @dg.job(
        name=RETENTION_JOB,
        description="Keeps Dagster's instance small: old logs go, the last materialisation of each partition stays.",
        executor_def=dg.in_process_executor,
        hooks={retry_when_worthwhile},
    )
    def job() -> None:
        forget()

    return job
