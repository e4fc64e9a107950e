"""What became of a run that was asked for, its retries included."""

from collections.abc import Sequence
from typing import Literal

import dagster as dg
from dagster._core.events import RunFailureReason
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, RUN_FAILURE_REASON_TAG, WILL_RETRY_TAG

Fate = Literal["on its way", "ended", "lost"]


# Dagster notes that a run has failed a moment before it notes whether it will be retried.
_SURE_AFTER_SECONDS = 20.0


def fate_of(records: Sequence[dg.RunRecord], now: float) -> Fate:
    """What became of a run.

    Dagster gives up on a run, or on its retry, when the code server is down at the moment of launching it. Such a run
    is lost: it is no answer. A run whose step failed or that was canceled is one.

    Args:
        records: The run and its retries; none of them when they were deleted.
        now: Epoch seconds.
    """
    runs = [record.dagster_run for record in records]
    if any(run.status == dg.DagsterRunStatus.SUCCESS for run in runs) or not runs:
        return "ended"
    if any(not run.is_finished or _will_be_retried(run) for run in runs):
        return "on its way"
    parents = {run.parent_run_id for run in runs}
    last = next(record for record in records if record.dagster_run.run_id not in parents)
    if last.dagster_run.status != dg.DagsterRunStatus.FAILURE:
        return "ended"
    if last.dagster_run.tags.get(RUN_FAILURE_REASON_TAG) == RunFailureReason.STEP_FAILURE.value:
        return "ended"
    return "lost" if now - (last.end_time or 0.0) > _SURE_AFTER_SECONDS else "on its way"


def _will_be_retried(run: dg.DagsterRun) -> bool:
    return run.tags.get(WILL_RETRY_TAG) == "true" and AUTO_RETRY_RUN_ID_TAG not in run.tags
