"""What the instance forgets of old runs, and what it must not."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.runs.schema import RunsTable

from mmt_assets.retention import KEPT_TAG, Forgotten, forget_old_runs, retention_job
from mmt_assets.settings import Settings

SETTINGS = Settings.model_validate({"keep_runs_days": 90})
NOW = datetime(2026, 12, 1, tzinfo=UTC)
DAYS = dg.StaticPartitionsDefinition(["1", "2", "3"])


@dg.asset(partitions_def=DAYS, check_specs=[dg.AssetCheckSpec("fine", asset="table")])
def table(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    context.log.info("said in passing")
    return dg.MaterializeResult(
        metadata={"rows": 3}, check_results=[dg.AssetCheckResult(check_name="fine", passed=True)]
    )


@dg.asset(partitions_def=DAYS)
def broken() -> None:
    raise RuntimeError("no")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=_events(tmp_path)) as made:
        yield made


def _events(folder: Path) -> dict[str, Any]:
    config = {"base_dir": str(folder / "events")}
    storage = {"module": "mmt_assets.event_log", "class": "PooledSqliteEventLogStorage", "config": config}
    return {"event_log_storage": storage, "run_storage": _stock("runs", "SqliteRunStorage", folder),
            "schedule_storage": _stock("schedules", "SqliteScheduleStorage", folder)}  # fmt: skip


def _stock(kind: str, name: str, folder: Path) -> dict[str, Any]:
    return {"module": f"dagster._core.storage.{kind}", "class": name, "config": {"base_dir": str(folder / kind)}}


def run(instance: dg.DagsterInstance, partition: str, days_ago: int, asset: dg.AssetsDefinition = table) -> str:
    """A run that ended that long ago."""
    result = dg.materialize([asset], instance=instance, partition_key=partition, raise_on_error=False)
    storage: Any = instance.run_storage
    ended = (NOW - timedelta(days=days_ago)).replace(tzinfo=None)
    with storage.connect() as connection:
        connection.execute(RunsTable.update().values(update_timestamp=ended).where(RunsTable.c.run_id == result.run_id))
    return result.run_id


def events(instance: dg.DagsterInstance, run_id: str) -> list[str | None]:
    return [entry.dagster_event_type.value if entry.dagster_event_type else None for entry in instance.all_logs(run_id)]


def test_a_run_of_which_nothing_is_the_latest_is_deleted_with_its_logs(instance: Any) -> None:
    replaced = run(instance, "1", days_ago=200)
    logs = Path(instance.compute_log_manager.get_captured_local_path([replaced, "compute_logs", "step"], "out")).parent
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "step.err").write_text("old")
    latest = run(instance, "1", days_ago=1)
    told = forget_old_runs(instance, SETTINGS, NOW)
    assert (told.runs, told.emptied_runs) == (1, 0)
    assert instance.get_run_by_id(replaced) is None
    assert events(instance, replaced) == []
    assert not (logs / "step.err").exists()
    assert "STEP_SUCCESS" in events(instance, latest), "a young run keeps its log"


def test_a_day_that_was_made_long_ago_stays_made_with_its_metadata_and_its_checks(instance: Any) -> None:
    old = run(instance, "2", days_ago=200)
    told = forget_old_runs(instance, SETTINGS, NOW)
    assert (told.runs, told.emptied_runs) == (0, 1)
    assert events(instance, old) == ["ASSET_MATERIALIZATION"]
    assert instance.get_materialized_partitions(table.key) == {"2"}
    event = instance.get_latest_materialization_event(table.key)
    assert event.asset_materialization.metadata["rows"].value == 3
    assert KEPT_TAG in instance.get_run_by_id(old).tags
    [check] = table.check_keys
    [latest] = instance.event_log_storage.get_latest_asset_check_execution_by_key([check]).values()
    assert latest.status.value == "SUCCEEDED"
    assert forget_old_runs(instance, SETTINGS, NOW) == Forgotten(), "there is nothing more to forget"


def test_failures_go_and_what_is_young_or_at_work_is_left_alone(instance: Any) -> None:
    failed = run(instance, "3", days_ago=91, asset=broken)
    young = run(instance, "3", days_ago=89, asset=broken)
    at_work = run(instance, "1", days_ago=200)
    storage: Any = instance.run_storage
    with storage.connect() as connection:
        started = RunsTable.update().values(status="STARTED").where(RunsTable.c.run_id == at_work)
        connection.execute(started)
    before = events(instance, at_work)
    forget_old_runs(instance, SETTINGS, NOW)
    assert instance.get_run_by_id(failed) is None
    assert "STEP_FAILURE" in events(instance, young)
    assert events(instance, at_work) == before


def test_many_old_runs_are_forgotten_in_several_transactions(instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmt_assets.retention._CHUNK", 2)
    runs = [run(instance, "1", days_ago=200 - n) for n in range(5)]
    told = forget_old_runs(instance, SETTINGS, NOW)
    assert (told.runs, told.emptied_runs) == (4, 1)
    assert [run_id for run_id in runs if instance.get_run_by_id(run_id)] == runs[-1:]


def test_the_job_forgets_and_says_how_much(instance: Any) -> None:
    result = retention_job(SETTINGS).execute_in_process(instance=instance)
    assert result.success
    said = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert any("0 runs deleted, 0 keep only what they made last" in message for message in said)
