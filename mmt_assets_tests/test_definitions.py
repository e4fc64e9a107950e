"""The code location, pinned: loaded in a fresh process, without credentials and with the network cut off."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmt_assets.contracts import ALL_TABLES

# Python runs this module before anything else when it is found on its path.
_CUT_OFF = """
import socket
def refuse(*args, **kwargs):
    raise RuntimeError("the network is cut off")
socket.getaddrinfo = socket.create_connection = refuse
socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = socket.socket.bind = refuse
"""
_DESCRIBE = """
import json, sys
from mmt_assets.definitions import defs
graph, repository = defs.resolve_asset_graph(), defs.get_repository_def()
def asset(key):
    node = graph.get(key)
    schema = node.metadata.get("dagster/column_schema")
    columns = getattr(schema, "value", schema).columns if schema else []
    return {
        "group": node.group_name,
        "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
        "partitions": type(node.partitions_def).__name__ if node.partitions_def else None,
        "starts": str(node.partitions_def.start.date()) if hasattr(node.partitions_def, "start") else None,
        "timezone": getattr(node.partitions_def, "timezone", None),
        "made_here": node.is_materializable,
        "checks": sorted(check.name for check in node.check_keys),
        "owners": sorted(node.owners),
        "kinds": sorted(node.kinds),
        "columns": [column.name for column in columns],
        "column_types": [column.type for column in columns],
        "described": all(column.description for column in columns) and bool(node.description),
        "fresh_for_seconds": specs[key].freshness_policy and
            int(specs[key].freshness_policy.fail_window.to_timedelta().total_seconds()),
    }
specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
print(json.dumps({
    "assets": {key.to_user_string(): asset(key) for key in graph.get_all_asset_keys()},
    "jobs": {name: sorted(key.to_user_string() for key in repository.get_job(name).asset_layer.executable_asset_keys)
        for name in repository.job_names if not name.startswith("__")},
    "executors": sorted({repository.get_job(name).executor_def.name for name in repository.job_names}),
    "schedules": {s.name: [s.cron_schedule, s.execution_timezone, s.default_status.value, s.job_name]
        for s in repository.schedule_defs},
    "sensors": {s.name: [s.default_status.value, s.minimum_interval_seconds, [t.job_name for t in s.targets]]
        for s in repository.sensor_defs},
    "resources": sorted(repository.get_top_level_resources()),
    "slow_modules": [name for name in ("google.cloud", "matplotlib", "numba", "scipy", "xgboost", "pycountry")
        if name in sys.modules],
}))
"""

_DAYS = "DailyPartitionsDefinition"
_FEATURES = ["features/city_demand", "features/concert_sales"]
_FORECAST_INPUTS = [*_FEATURES, "raw/concerts"]
_PIPELINE = ["duckdb", "sql"]
_MODEL = ["duckdb", "prophet", "python"]
# Asset: what it depends on, its partitions, its technologies.
GRAPH: dict[str, tuple[list[str], str | None, list[str]]] = {
    "raw/concerts": ([], None, _PIPELINE),
    "raw/ticket_orders": (["raw/concerts"], _DAYS, _PIPELINE),
    "raw/ticket_refunds": (["raw/concerts"], _DAYS, _PIPELINE),
    "raw/makes": ([], _DAYS, _PIPELINE),
    "raw/undated_refunds": (["raw/ticket_refunds"], None, _PIPELINE),
    "raw/rejected_rows": (
        ["raw/concerts", "raw/makes", "raw/ticket_orders", "raw/ticket_refunds"],
        None,
        _PIPELINE,
    ),
    "features/concert_sales": (["raw/ticket_orders", "raw/ticket_refunds"], _DAYS, _PIPELINE),
    "features/city_demand": (["raw/makes"], _DAYS, _PIPELINE),
    "forecasts/ticket_sales": (_FORECAST_INPUTS, _DAYS, _MODEL),
    "forecasts/concert_outlook": (_FORECAST_INPUTS, _DAYS, _MODEL),
    "forecasts/booking_curves": (_FORECAST_INPUTS, _DAYS, _MODEL),
    "forecasts/city_demand_forecast": (_FORECAST_INPUTS, _DAYS, _MODEL),
    "forecasts/concert_proposals": (_FORECAST_INPUTS, _DAYS, _MODEL),
    "forecasts/concert_forecast": (_FORECAST_INPUTS, "DynamicPartitionsDefinition", _MODEL),
    "forecasts/published_outlook": (["forecasts/concert_forecast", "forecasts/concert_outlook"], None, _MODEL),
    "forecasts/concert_scenarios": (_FORECAST_INPUTS, "DynamicPartitionsDefinition", _MODEL),
    "forecasts/outlook_changes": (["forecasts/concert_outlook"], None, _MODEL),
    "forecasts/accuracy": (
        ["features/concert_sales", "forecasts/concert_outlook", "forecasts/published_outlook", "raw/concerts"],
        None,
        ["duckdb", "python", "sql"],
    ),
    "forecasts/outlook_board": (
        [
            "forecasts/accuracy",
            "forecasts/city_demand_forecast",
            "forecasts/concert_forecast",
            "forecasts/concert_outlook",
            "forecasts/ticket_sales",
        ],
        None,
        ["html", "python"],
    ),
    "operations/forecast_requests": ([], None, ["pubsub"]),
    "operations/rejected_requests": (["operations/forecast_requests"], None, ["pubsub"]),
}
# Tables that another asset writes along.
WRITTEN_ALONG = {
    "raw/rejected_rows",
    "raw/undated_refunds",
    "forecasts/published_outlook",
    "forecasts/outlook_changes",
}
# Assets that are no table: their state is observed.
OBSERVED = {"operations/forecast_requests", "operations/rejected_requests"}
# An asset that is a page.
PAGES = {"forecasts/outlook_board"}
OWN_CHECKS = {
    "raw/concerts": {"rejected_rows"},
    "raw/ticket_orders": {"rejected_rows", "late_rows"},
    "raw/ticket_refunds": {"rejected_rows", "late_rows", "refunds_are_dated"},
    "raw/makes": {"rejected_rows", "late_rows"},
    "operations/vm_ledger": {"agrees_with_the_cloud"},
    "forecasts/accuracy": {"beats_additive_pickup", "coverage_holds"},
}
ON_DEMAND = "forecasts/concert_forecast"
WHAT_IF = "forecasts/concert_scenarios"
# What sees to machines of the cloud is there with MMT_ENV=gcp alone.
LEDGER = "operations/vm_ledger"
_SERVER_SENSORS = {"finished": 10, "release": 5, "reaper": 30}
SERVER_GRAPH = {LEDGER: ([], None, ["googlecloud", "python"])}


def run_cut_off(code: str, directory: Path, **variables: str) -> str:
    """Run Python code in a fresh process without credentials or network; returns what it prints."""
    site, work = directory / "site", directory / "work"
    for folder in (site, work):
        folder.mkdir()
    (site / "sitecustomize.py").write_text(_CUT_OFF)
    repository = Path(__file__).parents[1]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(work),
        "PYTHONPATH": f"{site}:{repository}",
        "PYTHONDONTWRITEBYTECODE": "1",
        **variables,
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not [path for path in work.iterdir() if not path.name.startswith(".")], "loading wrote files"
    return done.stdout


@pytest.fixture(scope="module", params=["local", "gcp"])
def described(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp(f"definitions_{request.param}")
    environment = {"MMT_ENV": request.param, "MMT_FIRST_DAY": "2026-01-01", "MMT_DAILY_AT": "05:30"}
    if request.param == "gcp":
        environment["MMT_TIMEZONE"] = "Europe/Berlin"
    told = json.loads(run_cut_off(_DESCRIBE, directory, **environment))
    return {**told, "env": request.param, "timezone": environment.get("MMT_TIMEZONE", "Asia/Seoul")}


def test_the_network_is_really_cut_off(tmp_path: Path) -> None:
    code = """
import urllib.request
try:
    urllib.request.urlopen("http://127.0.0.1:9")
except RuntimeError as error:
    print(error)
"""
    assert run_cut_off(code, tmp_path) == "the network is cut off\n"


def test_assets_dependencies_partitions_and_kinds(described: dict[str, Any]) -> None:
    assets = described["assets"]
    found = {key: (asset["deps"], asset["partitions"], asset["kinds"]) for key, asset in assets.items()}
    assert found == GRAPH | (SERVER_GRAPH if described["env"] == "gcp" else {})
    assert {key for key, asset in assets.items() if not asset["made_here"]} == WRITTEN_ALONG | OBSERVED
    days = [asset for asset in assets.values() if asset["partitions"] == _DAYS]
    assert {(asset["starts"], asset["timezone"]) for asset in days} == {("2026-01-01", described["timezone"])}
    assert all(asset["group"] == key.split("/")[0] for key, asset in assets.items())
    assert {tuple(asset["owners"]) for asset in assets.values()} == {("team:data-engineering",)}


def test_columns_and_checks_come_from_the_contracts(described: dict[str, Any]) -> None:
    contracts = {f"{contract.schema}/{contract.name}": contract for contract in ALL_TABLES}
    assert all(described["assets"][key]["described"] for key in OBSERVED | PAGES)
    for key, asset in described["assets"].items():
        if key in OBSERVED | PAGES:
            continue
        contract = contracts[key]
        assert asset["columns"] == list(contract.column_names), key
        assert asset["column_types"] == [column.type for column in contract.columns], key
        assert asset["described"], key
        own = {rule.name for rule in contract.rules} | {"key_is_unique", "no_nulls"} | OWN_CHECKS.get(key, set())
        assert set(asset["checks"]) == (set() if key in WRITTEN_ALONG else own), key


def test_what_the_daily_run_makes_must_be_fresh(described: dict[str, Any]) -> None:
    policies = {key: asset["fresh_for_seconds"] for key, asset in described["assets"].items()}
    without = WRITTEN_ALONG | OBSERVED | {ON_DEMAND, WHAT_IF, LEDGER}
    assert policies == {key: None if key in without else 26 * 3600 for key in described["assets"]}


def test_jobs_schedules_sensors_and_resources(described: dict[str, Any]) -> None:
    made, is_gcp = set(GRAPH) - WRITTEN_ALONG - OBSERVED, described["env"] == "gcp"
    assert described["jobs"] == {
        "daily_forecast_job": sorted(made - {ON_DEMAND, WHAT_IF}),
        "concert_forecast_job": [ON_DEMAND],
        "concert_scenario_job": [WHAT_IF],
        "outlook_board_job": ["forecasts/outlook_board"],
        "retention_job": [],
        **({"vm_ledger_job": [LEDGER]} if is_gcp else {}),
    }
    assert described["executors"] == ["in_process"]
    status = "RUNNING" if described["env"] == "local" else "STOPPED"
    assert described["schedules"] == {
        "daily_forecast_schedule": ["30 5 * * *", described["timezone"], status, "daily_forecast_job"],
        "retention_schedule": ["45 3 * * *", described["timezone"], "RUNNING", "retention_job"],
        **({"vm_ledger_schedule": ["17 * * * *", None, "RUNNING", "vm_ledger_job"]} if is_gcp else {}),
    }
    assert described["sensors"] == {
        "catch_up_sensor": [status, 30, ["daily_forecast_job"]],
        "concert_partition_sensor": [status, 60, ["concert_forecast_job"]],
        # Without a project there is no queue to look at.
        "forecast_request_sensor": [
            "RUNNING" if described["env"] == "gcp" else "STOPPED",
            5,
            ["daily_forecast_job", "concert_forecast_job"],
        ],
        "outlook_board_sensor": [status, 30, ["outlook_board_job"]],
        "notification_sensor": ["STOPPED", 60, []],
        "failed_day_sensor": ["STOPPED", 30, []],
        "stale_run_sensor": [status, 30, []],
        # A safety net that somebody must switch on is none.
        **({f"day_{n}_sensor": ["RUNNING", 30, []] for n in ("finished", "failed")} if is_gcp else {}),
        **({f"vm_{n}_sensor": ["RUNNING", every, []] for n, every in _SERVER_SENSORS.items()} if is_gcp else {}),
    }
    assert described["resources"] == ["compute", "pubsub", "source", "warehouse"]


def test_the_worker_does_not_import_dagster(tmp_path: Path) -> None:
    code = """
import sys
import mmt_assets.worker.__main__, mmt_assets.worker.work
print(sorted(name for name in sys.modules if name.split(".")[0] in ("dagster", "dagster_shared", "dagster_gcp")))
"""
    assert run_cut_off(code, tmp_path) == "[]\n"


def test_a_wrong_setting_fails_the_code_location_by_name(tmp_path: Path) -> None:
    code = """
from mmt_assets.settings import SettingsError
try:
    import mmt_assets.definitions
except SettingsError as error:
    print(error)
"""
    told = run_cut_off(code, tmp_path, MMT_ENV="cloud")
    assert told.startswith("MMT_ENV is 'cloud'")
    assert "'local' or 'gcp'" in told


def test_loading_the_definitions_imports_nothing_that_only_some_runs_need(described: dict[str, Any]) -> None:
    # Every run loads them anew, and somebody waits for a forecast on demand.
    if described["env"] == "local":
        assert described["slow_modules"] == []
