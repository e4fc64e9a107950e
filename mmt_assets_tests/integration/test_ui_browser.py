"""Dagster's own UI in a real browser, over a real code server, daemon and webserver: what analysts see and click."""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from mmt_assets.contracts import CONCERT_FORECAST
from mmt_assets.partitions import CONCERTS
from mmt_assets_tests.integration.test_daemon_backfills import FIRST, LAST, deployment, ended_backfill
from mmt_assets_tests.servers.browser import WatchedPage, open_browser, require_chromium
from mmt_assets_tests.servers.dagster_deployment import Deployment, instance_of, wait_until


def shot(page: WatchedPage, name: str) -> None:
    """Keep a picture where SCREENSHOTS says, for people who look."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def see(page: WatchedPage, address: str, *texts: str) -> None:
    page.page.goto(address)
    for text in texts:
        page.page.get_by_text(text).first.wait_for()


@pytest.mark.chaos
def test_an_analyst_sees_lineage_partitions_checks_and_history_and_forecasts_a_concert_by_a_click(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_chromium()
    at = (datetime.now(UTC) + timedelta(hours=6)).strftime("%H:%M")
    with deployment(tmp_path / "ui", MMT_DAILY_AT=at) as made:
        made.command("demo", "--source", "bookings", "--as-of", LAST.isoformat())
        [(concert,)] = made.rows("SELECT MIN(concert_id) FROM forecasts.concert_outlook WHERE days_to_show > 0")
        with instance_of(made.folder, monkeypatch) as instance:
            made.up()
            # As if nobody had known of it: the sensor sees an active concert without a partition.
            instance.delete_dynamic_partition(str(CONCERTS.name), concert)
            wait_until(lambda: instance.has_dynamic_partition(str(CONCERTS.name), concert), 180, "the sensor's tick")
            backfill = made.backfill(instance, [dg.AssetKey(["raw", "makes"])], [FIRST.isoformat()])
            ended_backfill(made, instance, backfill)
            ui = made.start_webserver()
            with open_browser() as browse:
                look_around(browse(), ui)
                click_for_a_forecast(browse(), ui, concert, made, instance)


def look_around(page: WatchedPage, ui: str) -> None:
    # One group a box until it is opened; a group's own page shows its assets.
    see(page, f"{ui}/asset-groups", "forecasts", "features", "raw")
    shot(page, "groups")
    see(page, f"{ui}/locations/mmt_assets/asset-groups/features/lineage", "concert_sales", "city_demand")
    shot(page, "lineage")
    see(page, f"{ui}/automation", "daily_forecast_schedule", "concert_partition_sensor", "stale_run_sensor")
    shot(page, "automation")
    see(page, f"{ui}/assets/features/concert_sales?view=partitions", LAST.isoformat())
    shot(page, "partitions")
    see(page, f"{ui}/assets/forecasts/concert_outlook?view=checks", "quantiles_ordered", "key_is_unique")
    shot(page, "checks")
    see(page, f"{ui}/runs?view=backfills", "makes")
    shot(page, "backfills")
    assert page.outside_requests == []


def click_for_a_forecast(
    page: WatchedPage, ui: str, concert: str, made: Deployment, instance: dg.DagsterInstance
) -> None:
    asset = f"{ui}/assets/forecasts/concert_forecast"
    key = dg.AssetKey([CONCERT_FORECAST.schema, CONCERT_FORECAST.name])

    def history() -> list[dg.EventLogRecord]:
        wanted = dg.AssetRecordsFilter(key, asset_partitions=[concert])
        return list(instance.fetch_materializations(wanted, limit=10).records)

    before = len(history())
    see(page, f"{asset}?view=partitions&partition={concert}", concert)
    page.page.get_by_role("button", name=re.compile("Materialize")).first.click()
    dialog = page.page.get_by_role("dialog")
    dialog.wait_for()
    shot(page, "dialog")
    dialog.get_by_text(concert).first.wait_for()
    dialog.get_by_role("button", name="Launch 1 run").click()
    wait_until(lambda: len(history()) > before, 180, "the forecast\n" + made.logs())
    see(page, f"{asset}?view=partitions&partition={concert}", "days to the show")
    shot(page, "verdict")
    # Its history: what the demo's run recorded, and what the click made.
    page.page.get_by_role("button", name="View all historical events (2)").wait_for()
    page.page.get_by_text("[Show Markdown]").first.click()
    page.page.locator("img[src^='data:image/png']").first.wait_for()
    shot(page, "plot")
    assert page.errors == []
