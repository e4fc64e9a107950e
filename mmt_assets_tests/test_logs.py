"""The log: one JSON line for each record, with the run's id, and nothing personal or secret in it."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
import yaml

from mmt_assets import logs
from mmt_assets.assets.run_once import AS_OF_TAG
from mmt_assets.build import build_definitions
from mmt_assets.job_names import DAILY_JOB
from mmt_assets.settings import Settings
from mmt_assets_tests.conftest import Pipeline, PipelineFactory, make

HOST_CONFIGURATION = Path(__file__).parents[1] / "infra/host/dagster.yaml"
FAN, HASH_KEY = "fan.jane.doe@example.com", "a key that nobody may read"  # pragma: allowlist secret


@pytest.fixture
def log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    logger = logging.getLogger(logs.PACKAGE_LOGGER)
    before, level = list(logger.handlers), logger.level
    yield tmp_path / logs.FILE
    for handler in set(logger.handlers) - set(before):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(level)


@pytest.fixture
def host_instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance that logs as the host's does, but every word."""
    configured = yaml.safe_load(HOST_CONFIGURATION.read_text())["python_logs"] | {"python_log_level": "DEBUG"}
    configured["dagster_handler_config"]["handlers"]["json_lines"]["level"] = "DEBUG"
    overrides = {"python_logs": configured, "telemetry": {"enabled": False}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides) as instance:
        yield instance


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_line_of_a_run_carries_its_id_and_no_line_a_fan_or_a_key(
    new_pipeline: PipelineFactory, host_instance: dg.DagsterInstance, log_file: Path
) -> None:
    pipeline: Pipeline = new_pipeline(fan_hash_key=HASH_KEY)
    pipeline.instance = host_instance
    # One that is stored as a hash, and one that is rejected with its row.
    pipeline.put(makes=[make(FAN), make(FAN, "no time at all")])
    result = pipeline.load()
    assert pipeline.rejected()
    of_the_run = [line for line in lines(log_file) if line.get("run_id") == result.run_id]
    assert {"raw__makes", "features__city_demand"} <= {line.get("step") for line in of_the_run}
    assert all(line["job"] == DAILY_JOB for line in of_the_run)
    events = "\n".join(str(entry) for entry in host_instance.all_logs(result.run_id))
    for place in (log_file.read_text(), events):
        assert FAN not in place
        assert "jane.doe" not in place
        assert HASH_KEY not in place


def test_the_packages_own_records_carry_their_event_once(log_file: Path) -> None:
    logs.log_as_json_lines()
    logs.log_as_json_lines()
    logging.getLogger("mmt_assets.daily").error(
        "a day\nof trouble", extra={"event": "day_failed", "run_id": "r1", "as_of_date": "2026-01-01"}
    )
    [line] = lines(log_file)
    assert (line["event"], line["run_id"], line["as_of_date"]) == ("day_failed", "r1", "2026-01-01")
    assert line["severity"] == "ERROR"
    assert line["message"] == "a day\nof trouble"


def test_a_rotated_file_is_begun_anew(log_file: Path) -> None:
    logs.log_as_json_lines()
    logger = logging.getLogger("mmt_assets.daily")
    logger.info("before")
    log_file.rename(log_file.with_suffix(".1"))
    logger.info("after")
    assert [line["message"] for line in lines(log_file)] == ["after"]


@pytest.mark.parametrize(
    ("sensor", "tags", "event"),
    [
        ("day_finished_sensor", {AS_OF_TAG: "2026-01-01"}, "day_finished"),
        ("day_failed_sensor", {AS_OF_TAG: "2026-01-01"}, "day_failed"),
        ("day_failed_sensor", {AS_OF_TAG: "2026-01-01", "dagster/will_retry": "true"}, None),
        ("day_finished_sensor", {}, None),
    ],
)
def test_how_a_day_ended_is_said_once(
    sensor: str, tags: dict[str, str], event: str | None, log_file: Path, tmp_path: Path
) -> None:
    logs.log_as_json_lines()
    definitions = build_definitions(Settings.from_env({"MMT_ENV": "gcp", "MMT_SOURCE": str(tmp_path)}))
    job = definitions.resolve_job_def(DAILY_JOB)
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(job, tags=tags)
        kind = dg.DagsterEventType.RUN_FAILURE if "failed" in sensor else dg.DagsterEventType.RUN_SUCCESS
        context = dg.build_run_status_sensor_context(
            sensor, dg.DagsterEvent(kind.value, DAILY_JOB), instance, instance.get_run_by_id(run.run_id) or run
        )
        cast("Any", definitions.get_sensor_def(sensor))(context)
    found = [line["event"] for line in lines(log_file)] if log_file.exists() else []
    assert found == ([event] if event else [])
