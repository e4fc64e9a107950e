"""What became of a run that was asked for, its retries included."""

from collections.abc import Sequence
from typing import Literal

import dagster as dg
from dagster._core.events import RunFailureReason
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, RUN_FAILURE_REASON_TAG, WILL_RETRY_TAG

Fate = Literal["on its way", "ended", "lost"]


def fate_of(runs: Sequence[dg.DagsterRun]) -> Fate:
    """What became of a run.

    Dagster gives up on a run, or on its retry, when the code server is down at the moment of launching it. Such a run
    is lost: it is no answer. A run whose step failed, that was canceled, or that died as often as it may is one.

    Args:
        runs: The run and its retries; none of them when they were deleted.
    """
    if any(run.status == dg.DagsterRunStatus.SUCCESS for run in runs) or not runs:
        return "ended"
    if any(not run.is_finished or _will_be_retried(run) for run in runs):
        return "on its way"
    parents = {run.parent_run_id for run in runs}
    last = next(run for run in runs if run.run_id not in parents)
    failed_itself = last.tags.get(RUN_FAILURE_REASON_TAG) == RunFailureReason.STEP_FAILURE.value
    is_lost = last.status == dg.DagsterRunStatus.FAILURE and not failed_itself
    return "lost" if is_lost else "ended"


def _will_be_retried(run: dg.DagsterRun) -> bool:
    return run.tags.get(WILL_RETRY_TAG) == "true" and AUTO_RETRY_RUN_ID_TAG not in run.tags
