"""The event log: Dagster's tables and events, written by several processes, read by Dagster's own class."""

import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from sqlalchemy import event as sqlalchemy_event

CONFIG = """
run_storage:
  module: mmt_assets.run_storage
  class: PooledSqliteRunStorage
  config: {{base_dir: "{home}"}}
event_log_storage:
  module: mmt_assets.event_log
  class: PooledSqliteEventLogStorage
  config: {{base_dir: "{home}"}}
schedule_storage:
  module: dagster._core.storage.schedules
  class: SqliteScheduleStorage
  config: {{base_dir: "{home}"}}
telemetry: {{enabled: false}}
"""
MATERIALIZE = """
    import sys
    import dagster as dg
    with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
        for number in range(20):
            instance.report_runless_asset_event(dg.AssetMaterialization(sys.argv[2], partition=str(number)))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "dagster.yaml").write_text(CONFIG.format(home=tmp_path))
    with dg.DagsterInstance.from_config(str(tmp_path)):
        pass
    return tmp_path


def test_several_processes_write_at_once_and_no_event_is_lost(home: Path) -> None:
    script = textwrap.dedent(MATERIALIZE)
    names = ("first", "second", "third")
    writers = [subprocess.Popen([sys.executable, "-c", script, str(home), name]) for name in names]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for name in names:
            assert len(instance.get_materialized_partitions(dg.AssetKey(name))) == 20


def test_what_it_writes_is_what_dagsters_own_storage_reads(home: Path) -> None:
    @dg.asset(check_specs=[dg.AssetCheckSpec("fine", asset="table")])
    def table() -> dg.MaterializeResult:
        return dg.MaterializeResult(
            metadata={"rows": 3}, check_results=[dg.AssetCheckResult(check_name="fine", passed=True)]
        )

    with dg.DagsterInstance.from_config(str(home)) as instance:
        run = dg.materialize([table], instance=instance)
        written = [entry.dagster_event_type for entry in instance.all_logs(run.run_id)]
    stock = ConsolidatedSqliteEventLogStorage(str(home))
    read = [record.event_log_entry.dagster_event_type for record in stock.get_records_for_run(run.run_id).records]
    assert read == written
    assert dg.DagsterEventType.ASSET_MATERIALIZATION in read
    assert dg.DagsterEventType.ASSET_CHECK_EVALUATION in read


def test_a_failed_write_leaves_no_open_transaction(home: Path) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        storage = instance.event_log_storage
        with pytest.raises(RuntimeError, match="on purpose"), storage.index_connection():  # type: ignore[attr-defined]
            raise RuntimeError("on purpose")
        instance.report_runless_asset_event(dg.AssetMaterialization("after"))
        assert instance.get_latest_materialization_event(dg.AssetKey("after"))


def test_an_event_is_stored_with_all_its_rows_or_not_at_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        storage: Any = instance.event_log_storage

        def fail(*_: object) -> None:
            raise RuntimeError("killed between the event and its asset's row")

        with monkeypatch.context() as broken:
            broken.setattr(storage, "_store_asset_event", fail)
            with pytest.raises(RuntimeError, match="between"):
                instance.report_runless_asset_event(dg.AssetMaterialization("table", partition="1"))
        assert instance.get_materialized_partitions(dg.AssetKey("table")) == set()
        instance.report_runless_asset_event(dg.AssetMaterialization("table", partition="2"))
        assert instance.get_materialized_partitions(dg.AssetKey("table")) == {"2"}


def test_a_batch_of_events_is_one_transaction_and_loses_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = [str(number) for number in range(50)]

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(days), backfill_policy=dg.BackfillPolicy.single_run())
    def table() -> None: ...

    def commits() -> int:
        """Transactions that the materialisation of all the days takes."""
        with dg.DagsterInstance.from_config(str(home)) as instance:
            storage: Any = instance.event_log_storage
            done = list[int]()
            sqlalchemy_event.listen(storage._engine, "commit", lambda _: done.append(1))
            result = dg.materialize(
                [table],
                instance=instance,
                tags={"dagster/asset_partition_range_start": "0", "dagster/asset_partition_range_end": "49"},
            )
            events = instance.all_logs(result.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
            assert {entry.get_dagster_event().partition for entry in events} == set(days)
            latest = instance.get_latest_materialization_event(dg.AssetKey("table"))
            assert latest
            assert latest.run_id == result.run_id
        return len(done)

    # The Makefile sets it for everything that it starts.
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)
    one_by_one = commits()
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "500")
    assert commits() <= one_by_one - 49


def test_a_run_waits_for_another_process_that_holds_the_runs_longer_than_dagster_would(home: Path) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance, sqlite3.connect(home / "runs.db") as other:
        other.execute("BEGIN IMMEDIATE")

        @dg.job
        def job() -> None: ...

        stored: list[str] = []
        writer = threading.Thread(target=lambda: stored.append(instance.create_run_for_job(job).run_id))
        writer.start()
        # Five seconds is what sqlite3 waits by itself.
        writer.join(6)
        assert writer.is_alive(), "it waits"
        other.rollback()
        writer.join(30)
        assert instance.get_run_by_id(stored[0])
