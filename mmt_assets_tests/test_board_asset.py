"""The board in Dagster: the asset on a file and on Cloud Storage, its metadata, and when it is made again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mmt_assets.assets.board import BOARD
from mmt_assets.assets.catalog import asset_key
from mmt_assets.board import board_address, save_board
from mmt_assets.build import build_definitions
from mmt_assets.contracts import CONCERT_FORECAST
from mmt_assets.job_names import BOARD_JOB
from mmt_assets.sensors.outlook_board import outlook_board_sensor
from mmt_assets.settings import Settings, SettingsError
from mmt_assets_tests.board_tables import AS_OF, BoardTables, every_status
from mmt_assets_tests.servers.gcs import GcsServer

FORECAST = asset_key(CONCERT_FORECAST)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def settings_for(tmp_path: Path, **values: Any) -> Settings:
    return Settings(home=tmp_path, warehouse=tmp_path / "board.duckdb", timezone="UTC", last_day=AS_OF, **values)


def make_board(settings: Settings, instance: dg.DagsterInstance) -> dict[str, Any]:
    """Run the board's job; returns the metadata of its materialisation."""
    job = build_definitions(settings).resolve_job_def(BOARD_JOB)
    result = job.execute_in_process(instance=instance)
    [event] = result.asset_materializations_for_node(BOARD.to_python_identifier())
    return {name: value.value for name, value in event.metadata.items()}


def test_the_asset_replaces_the_page_and_tells_its_verdict(
    board_tables: BoardTables, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    every_status(board_tables)
    board_tables.add_concert("pipe", artist="A | B `x` <b>", city="[link](http://example.com)")
    board_tables.write()
    settings = settings_for(tmp_path)
    told = make_board(settings, instance)
    page = tmp_path / "board" / "outlook.html"
    assert told["board"] == page.as_uri()
    assert told["page_bytes"] == page.stat().st_size
    assert told["concerts"] == 12
    assert told["need_attention"] == 4
    assert told["tickets_expected_change"] == 200
    assert told["days_without_any_sale"] == 0
    assert told["verdict"].startswith("12 concerts as of 2026-03-10: ")
    assert "4 need attention, 2 are sold out or likely to be." in told["verdict"]
    assert told["look_first"].splitlines()[2].startswith("| Artist still, Berlin | 2026-04-09 | 240 | 340 | Stalled |")
    [hostile] = [line for line in told["look_first"].splitlines() if "example" in line]
    assert hostile.startswith(r"| A \| B \`x\` \<b\>, \[link\]\(http\:\/\/example\.com\) | 2026-04-09 |")
    first = page.stat().st_ino
    make_board(settings, instance)
    assert page.stat().st_ino != first, "it was not made again"
    assert [path.name for path in page.parent.iterdir()] == ["outlook.html"], "something was left behind"


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    page = tmp_path / "outlook.html"
    save_board("old", str(page))
    with pytest.raises(UnicodeEncodeError):
        save_board("half a page \ud800", str(page))
    assert page.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["outlook.html"]


def test_the_page_is_replaced_in_a_bucket(
    gcs: GcsServer,
    board_tables: BoardTables,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every_status(board_tables)
    board_tables.write()
    bucket = gcs.bucket("mmt-test-logs")
    for name, value in gcs.environment.items():
        monkeypatch.setenv(name, value)
    settings = settings_for(tmp_path, board="gs://mmt-test-logs/board/outlook.html", project="mmt-test")
    make_board(settings, instance)
    told = make_board(settings, instance)
    assert told["board"] == "https://storage.cloud.google.com/mmt-test-logs/board/outlook.html"
    blob = bucket.get_blob("board/outlook.html")
    assert blob is not None
    assert (blob.content_type, blob.cache_control) == ("text/html; charset=utf-8", "no-cache")
    assert "<h1>Concert outlook</h1>" in blob.download_as_text()
    assert [one.name for one in bucket.list_blobs()] == ["board/outlook.html"]


def test_where_the_board_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.from_env({}).board_place == str(tmp_path / ".mmt" / "board" / "outlook.html")
    assert Settings.from_env({"MMT_BOARD": "pages/today.html"}).board_place == str(tmp_path / "pages" / "today.html")
    assert (
        Settings.from_env({"MMT_ENV": "gcp", "MMT_PROJECT": "my-project"}).board_place
        == "gs://my-project-mmt-logs/board/outlook.html"
    )
    with pytest.raises(SettingsError, match="MMT_PROJECT is unset"):
        _ = Settings.from_env({"MMT_ENV": "gcp"}).board_place
    for wrong in ("gs://", "gs://bucket", "gs://Bucket/page.html"):
        with pytest.raises(SettingsError, match=r"MMT_BOARD is .*gs://bucket/object"):
            Settings.from_env({"MMT_BOARD": wrong})
    with pytest.raises(SettingsError, match="MMT_DAGSTER_URL"):
        Settings.from_env({"MMT_DAGSTER_URL": "javascript:alert(1)"})
    assert board_address(str(tmp_path / "a b.html")) == f"{tmp_path.as_uri()}/a%20b.html"


def record(instance: dg.DagsterInstance, asset: dg.AssetKey) -> None:
    """Put a materialisation into the instance's log."""
    instance.report_runless_asset_event(dg.AssetMaterialization(asset))


def tick(instance: dg.DagsterInstance, settings: Settings) -> dg.RunRequest | str:
    """What the sensor asks for, or why nothing."""
    context = dg.build_sensor_context(instance=instance)
    data = outlook_board_sensor(settings).evaluate_tick(context)
    return data.run_requests[0] if data.run_requests else str(data.skip_message)


def test_the_board_is_asked_for_once_after_forecasts_on_demand(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    settings = settings_for(tmp_path)
    assert tick(instance, settings) == "no concert was forecast yet"
    record(instance, FORECAST)
    record(instance, FORECAST)
    asked, again = tick(instance, settings), tick(instance, settings)
    assert isinstance(asked, dg.RunRequest)
    assert isinstance(again, dg.RunRequest)
    assert asked.run_key == again.run_key, "one run for the newest forecast, however often it is looked"
    record(instance, BOARD)
    assert tick(instance, settings) == "the board is newer than every forecast"
    record(instance, FORECAST)
    later = tick(instance, settings)
    assert isinstance(later, dg.RunRequest)
    assert later.run_key != asked.run_key


def test_the_board_waits_for_a_run_that_is_still_forecasting(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    @dg.asset(key=FORECAST)
    def forecast(context: dg.AssetExecutionContext) -> None:
        context.log_event(dg.AssetMaterialization(FORECAST))
        seen.append(tick(context.instance, settings))

    seen: list[dg.RunRequest | str] = []
    settings = settings_for(tmp_path)
    assert dg.materialize([forecast], instance=instance).success
    [said] = seen
    assert isinstance(said, str)
    assert said.endswith("is still forecasting")
    assert isinstance(tick(instance, settings), dg.RunRequest)
