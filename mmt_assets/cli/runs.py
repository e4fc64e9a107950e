"""Runs started from the command line, in this process, recorded in the instance that the UI shows."""

from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from mmt_assets.build import build_definitions
from mmt_assets.cli.terminal import TERMINAL_LOGGER, terminal_logger
from mmt_assets.settings import Settings

_TERMINAL = {"loggers": {TERMINAL_LOGGER: {}}}


def run_job(
    instance: dg.DagsterInstance,
    settings: Settings,
    job_name: str,
    *,
    days: tuple[date, date] | None = None,
    concert_id: str | None = None,
    assets: Sequence[dg.AssetKey] | None = None,
    ops: Mapping[str, object] | None = None,
) -> dg.ExecuteInProcessResult:
    """Run a job for a range of days, or for one concert.

    Args:
        instance: Where the run is recorded.
        settings: Settings.
        job_name: Job.
        days: First and last day.
        concert_id: Concert.
        assets: Part of the job's assets; all by default.
        ops: Run configuration of the assets.

    Returns:
        The result, failed or not.

    Raises:
        KeyboardInterrupt: Somebody stopped the run.
    """
    definitions = build_definitions(settings, loggers={TERMINAL_LOGGER: terminal_logger})
    job = definitions.resolve_job_def(job_name)
    tags = (
        {
            "dagster/asset_partition_range_start": days[0].isoformat(),
            "dagster/asset_partition_range_end": days[1].isoformat(),
        }
        if days
        else {}
    )
    result = job.execute_in_process(
        instance=instance,
        asset_selection=assets,
        partition_key=concert_id,
        tags=tags,
        run_config={**_TERMINAL, **({"ops": ops} if ops else {})},
        raise_on_error=False,
    )
    if _was_interrupted(result):
        raise KeyboardInterrupt
    return result


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether somebody stopped the run: Dagster makes a step failure of it."""
    errors = (event.step_failure_data.error for event in result.all_events if event.is_step_failure)
    return any(error and error.cls_name == DagsterExecutionInterruptedError.__name__ for error in errors)


def failure_reason(result: dg.ExecuteInProcessResult) -> str:
    """Why a run failed: the innermost error of its first failed step."""
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error:
            failure = event.step_failure_data
            error = failure.error
            while error is not None and error.cause:
                error = error.cause
            described = failure.user_failure_data.description if failure.user_failure_data else None
            return f"{event.step_key}: {described or (error and error.message)}"
    return "the run failed before its first step"
