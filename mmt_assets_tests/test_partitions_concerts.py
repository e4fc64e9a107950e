"""Concert partitions follow the active concerts."""

from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd
import pytest

from mmt_assets.partitions import CONCERTS
from mmt_assets.resources import DuckDBFile
from mmt_assets.sensors.concert_partitions import (
    PartitionChanges,
    concert_partition_sensor,
    partition_changes,
    unfinished_concerts,
)
from mmt_assets.warehouse import DuckDBWarehouse

if TYPE_CHECKING:
    from mmt_assets_tests.conftest import Pipeline

NAME = str(CONCERTS.name)
TODAY = date(2026, 1, 31)


def concerts(**rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [(name, status, pd.Timestamp(show)) for name, (status, show) in rows.items()],
        columns=["concert_id", "status", "show_date"],
    )


def test_active_concerts_get_a_partition_and_long_finished_ones_lose_theirs() -> None:
    known = concerts(
        new=("on_sale", "2026-06-01"),
        ahead=("announced", "2026-06-01"),
        just_over=("completed", "2026-01-01"),
        long_over=("completed", "2025-12-31"),
        running=("completed", "2025-12-31"),
        never=("completed", "2025-12-31"),
    )
    existing = {"ahead", "just_over", "long_over", "running", "unknown"}
    changes = partition_changes(known, existing, {"running"}, today=TODAY, keep_days=30)
    assert changes == PartitionChanges(add=("new",), remove=("long_over", "unknown"), rejected=())


def test_ids_that_cannot_be_keys_are_told_apart() -> None:
    known = pd.DataFrame({"concert_id": ["a b", "ok"], "status": "on_sale", "show_date": pd.Timestamp("2026-06-01")})
    changes = partition_changes(known, set(), set(), today=TODAY, keep_days=30)
    assert changes == PartitionChanges(add=("ok",), remove=(), rejected=("a b",))


def test_no_concerts_at_all_remove_every_idle_partition() -> None:
    changes = partition_changes(concerts(), {"a", "b"}, {"b"}, today=TODAY, keep_days=30)
    assert changes == PartitionChanges(add=(), remove=("a",), rejected=())


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_an_unfinished_run_keeps_its_partition(status: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for name, state in (("busy", dg.DagsterRunStatus[status]), ("done", dg.DagsterRunStatus.SUCCESS)):
            run = dg.DagsterRun(job_name="job", tags={"dagster/partition": name}, status=state)
            instance.add_run(run)
        assert unfinished_concerts(instance) == {"busy"}


def evaluate(pipeline: "Pipeline", *, path: str | None = None) -> dg.SensorResult | dg.SkipReason:
    warehouse = DuckDBFile(path=path or str(pipeline.settings.warehouse_path))
    context = dg.build_sensor_context(instance=pipeline.instance, resources={"warehouse": warehouse})
    outcome = concert_partition_sensor(pipeline.settings)(context)
    assert isinstance(outcome, dg.SensorResult | dg.SkipReason)
    return outcome


def apply(pipeline: "Pipeline", outcome: dg.SensorResult | dg.SkipReason) -> set[str]:
    assert isinstance(outcome, dg.SensorResult), outcome
    for request in outcome.dynamic_partitions_requests or []:
        if isinstance(request, dg.AddDynamicPartitionsRequest):
            pipeline.instance.add_dynamic_partitions(NAME, request.partition_keys)
        else:
            for key in request.partition_keys:
                pipeline.instance.delete_dynamic_partition(NAME, key)
    return set(pipeline.instance.get_dynamic_partitions(NAME))


def test_the_sensor_waits_for_the_first_load_and_then_keeps_partitions_up_to_date(pipeline: "Pipeline") -> None:
    outcome = evaluate(pipeline)
    assert isinstance(outcome, dg.SkipReason)
    assert "run the daily job first" in str(outcome.skip_message)
    # Between the steps of the first run the file is there but the features are not.
    pipeline.load("2026-01-01", assets=["raw/concerts"])
    outcome = evaluate(pipeline)
    assert isinstance(outcome, dg.SkipReason)
    assert "run the daily job first" in str(outcome.skip_message)

    over = {"on_sale_at": None, "show_at": "2026-01-05 10:00:00"}
    pipeline.set(finished_partition_days=2)
    pipeline.put(concerts=[pipeline.concert(), pipeline.concert("over", **over), pipeline.concert("b b")])
    pipeline.load(
        "2026-01-01", assets=["raw/concerts", "raw/ticket_orders", "raw/ticket_refunds", "features/concert_sales"]
    )
    pipeline.instance.add_dynamic_partitions(NAME, ["over"])
    assert apply(pipeline, evaluate(pipeline)) == {"c1"}
    outcome = evaluate(pipeline)
    assert isinstance(outcome, dg.SkipReason)
    assert "up to date (1 concert ids rejected)" in str(outcome.skip_message)


def test_the_sensor_looks_again_when_the_warehouse_is_held(
    pipeline: "Pipeline", monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.load(
        "2026-01-01", assets=["raw/concerts", "raw/ticket_orders", "raw/ticket_refunds", "features/concert_sales"]
    )
    monkeypatch.setattr("mmt_assets.sensors.concert_partitions._BUSY_TIMEOUT_SECONDS", 0.01)
    with DuckDBWarehouse(pipeline.settings.warehouse_path).open():
        outcome = evaluate(pipeline)
    assert isinstance(outcome, dg.SkipReason)
    assert "looking again in a minute" in str(outcome.skip_message)
