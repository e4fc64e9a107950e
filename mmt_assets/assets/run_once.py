"""A business day's run is made once: tags that say which day a run is for, and the check in the run itself."""

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

# The day that a run brings the forecasts up to.
AS_OF_TAG = "mmt/as_of_date"
# Present on a run that was asked for although the day may have been made already.
RERUN_TAG = "mmt/rerun"
# Limit 1: runs that forecast whole days come one after the other.
DAILY_POOL = "daily_forecasts"
_RETRY_NUMBER_TAG = "dagster/retry_number"


def successful_run(instance: dg.DagsterInstance, day: str, *, other_than: str | None = None) -> dg.DagsterRun | None:
    """A successful run of that day, or None."""
    found = instance.get_runs(dg.RunsFilter(tags={AS_OF_TAG: day}, statuses=[dg.DagsterRunStatus.SUCCESS]))
    return next((run for run in found if run.run_id != other_than), None)


def end_if_made_already(context: dg.AssetExecutionContext) -> None:
    """End the run as canceled, before any work, when another run of the same day has succeeded meanwhile.

    Runs that were asked for on purpose go on: those with `mmt/rerun`, and those re-executed by a person.

    Raises:
        DagsterExecutionInterruptedError: Dagster's own way to end a run that is being canceled.
    """
    run = context.run
    is_by_person = run.parent_run_id is not None and _RETRY_NUMBER_TAG not in run.tags
    if AS_OF_TAG not in run.tags or RERUN_TAG in run.tags or is_by_person:
        return
    day = run.tags[AS_OF_TAG]
    if made := successful_run(context.instance, day, other_than=run.run_id):
        told = f"Nothing to do: {day} was made by run {made.run_id}. Re-execute that run to make the day again."
        context.log.info(told)
        context.instance.report_run_canceling(run, message=told)
        raise DagsterExecutionInterruptedError(told)


def limit_daily_pool(instance: dg.DagsterInstance) -> None:
    """Set the pool's limit to 1. Without the row, the first runs ever of a pool overlap."""
    storage = instance.event_log_storage
    if not any(pool.name == DAILY_POOL and pool.limit == 1 for pool in storage.get_pool_limits()):
        storage.set_concurrency_slots(DAILY_POOL, 1)
