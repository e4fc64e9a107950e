"""Notifications: what is news, who is told, once, and through a real socket."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from mmt_assets.build import build_definitions, build_resources
from mmt_assets.contracts import CONCERT_OUTLOOK, CONCERT_SALES, NOTIFICATIONS
from mmt_assets.forecasting.alerts import ALERT_COLUMNS
from mmt_assets.notifications import NotSentError, send, split_alerts
from mmt_assets.sensors.notifications import NOTIFIED_TAG
from mmt_assets.settings import Settings, SettingsError
from mmt_assets.warehouse import DuckDBWarehouse, Fence, ReplaceSlice, Slice
from mmt_assets_tests.servers.receiver import Receiver

DAY = date(2026, 3, 31)
EMPTY = pd.DataFrame(columns=list(NOTIFICATIONS.column_names))


def alerts(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(ALERT_COLUMNS))


def told(found: Any) -> pd.DataFrame:
    return pd.DataFrame([*found.news.to_dict("records"), *found.ongoing.to_dict("records")], columns=EMPTY.columns)


def test_an_alert_is_told_once_while_it_holds_and_again_after_it_had_ended_for_long() -> None:
    behind = alerts(("behind", "a", "a is behind"))
    first = split_alerts(behind, EMPTY, DAY, again_days=7)
    assert (first.title, first.body) == ("Concert forecasts as of 2026-03-31: 1 alert", "a is behind")
    known = told(first)
    for later, news in ((0, 0), (7, 0), (8, 1)):
        found = split_alerts(behind, known, DAY + timedelta(days=later), again_days=7)
        assert (len(found.news), len(found.ongoing)) == (news, 1 - news), later
    # While it holds it stays the same spell, however long.
    for later in range(1, 40):
        found = split_alerts(behind, known, DAY + timedelta(days=later), again_days=7)
        assert found.news.empty
        known = told(found)
    assert known["first_date"].tolist() == [pd.Timestamp(DAY)]
    assert len(split_alerts(alerts(("stalled", "a", "a stalled")), known, DAY, again_days=7).news) == 1
    # A day that is made again later tells nothing new and forgets nothing.
    again = split_alerts(behind, known, DAY, again_days=7)
    assert again.news.empty
    assert told(again)["last_date"].tolist() == known["last_date"].tolist()


def test_a_long_digest_is_cut() -> None:
    many = alerts(*(("behind", f"c{i}", f"c{i} is behind") for i in range(23)))
    body = split_alerts(many, EMPTY, DAY, again_days=7).body.splitlines()
    assert body[-2:] == ["c19 is behind", "... and 3 more in forecasts.concert_outlook"]


def test_a_message_reaches_the_channel_and_a_dead_one_does_not_stop_the_others(receiver: Receiver) -> None:
    dead = "json://127.0.0.1:9/"
    assert send([dead, receiver.address], "Title", "Line 1\nLine 2") == 1
    [message] = receiver.messages
    assert (message["title"], message["message"], message["type"]) == ("Title", "Line 1\nLine 2", "info")
    with pytest.raises(NotSentError, match="none of 1 channels"):
        send([dead], "Title", "Body")
    with pytest.raises(NotSentError, match="channel 2 of 2 in MMT_NOTIFY_URLS is no Apprise address") as caught:
        send([receiver.address, "secret-token"], "Title", "Body")
    assert "secret-token" not in str(caught.value)
    assert len(receiver.messages) == 1


def test_addresses_are_secret() -> None:
    settings = Settings.from_env({"MMT_NOTIFY_URLS": "slack://token-a  json://user:token-b@host"})
    assert settings.channels() == ("slack://token-a", "json://user:token-b@host")  # pragma: allowlist secret
    assert "token" not in f"{settings!r} {settings.to_env()}"
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"MMT_NOTIFY_URLS": "slack://token-a", "MMT_NOTIFY_AGAIN_DAYS": "0"})
    assert "token" not in str(caught.value)
    assert not Settings.from_env({}).notifies()


def write_day(settings: Settings, day: date, **flags: str) -> None:
    """Write a live outlook, and sales of every day up to it."""
    facts: dict[str, Any] = {
        "artist": "Epik High",
        "city": "Berlin",
        "country": "DE",
        "status": "on_sale",
        "days_to_show": 60,
        "gross_sold": 100,
        "refunded": 0,
        "sold": 100,
        "capacity": 500,
        "sell_out_probability": 0.6,
        "final_p10": 200.0,
        "final_p50": 300.0,
        "final_p90": 400.0,
        "final_gross_p50": 300.0,
        "pace_pct": -20.0,
        "method": "blend",
        "method_reason": "test",
        "origin": "live",
        "run_id": "run",
        "commit": "none",
        "lock_hash": "none",
        "computed_at": datetime.now(UTC),
        "run_created_at": datetime.now(UTC),
        "as_of_date": pd.Timestamp(day),
        "show_date": pd.Timestamp(2026, 6, 1),
    }
    rows = pd.DataFrame([{"concert_id": c, "status_flag": flag, **facts} for c, flag in flags.items()])
    days = pd.date_range(day - timedelta(days=40), day)
    sales = pd.DataFrame({"concert_id": "a", "sales_date": days, "orders_count": 1, "tickets_sold": 2})
    sales = sales.assign(tickets_refunded=0, tickets_net=2, gross_revenue=10.0, currency="EUR")
    fence = Fence("test", datetime.now(UTC))
    with DuckDBWarehouse(settings.warehouse_path).open() as session:
        outlook = rows.reindex(columns=list(CONCERT_OUTLOOK.column_names))
        session.write([ReplaceSlice(CONCERT_OUTLOOK, Slice(first=day, last=day), outlook)], fence=fence)
        session.write([ReplaceSlice(CONCERT_SALES, Slice(), sales)], fence=fence)


class Watch:
    """The notification sensor with its cursor, as a daemon that may be restarted."""

    def __init__(self, home: Path, instance: dg.DagsterInstance, channels: str, **settings: Any) -> None:
        self.home, self.instance, self.channels, self.given = home, instance, channels, settings
        self.cursor: str | None = None

    def settings(self, day: date) -> Settings:
        return Settings.model_validate(
            {
                "home": self.home,
                "last_day": day,
                "first_day": date(2026, 1, 1),
                "notify_urls": self.channels or None,
                **self.given,
            }
        )

    def made(self, day: date, **flags: str) -> None:
        write_day(self.settings(day), day, **flags)
        key = dg.AssetKey(["forecasts", "concert_outlook"])
        self.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=day.isoformat()))

    def tick(self, day: date) -> str:
        settings = self.settings(day)
        sensor = build_definitions(settings).get_sensor_def("notification_sensor")
        resources = {"warehouse": build_resources(settings)["warehouse"]}
        with dg.build_sensor_context(self.instance, cursor=self.cursor, resources=resources) as context:
            skipped = sensor(context)
            self.cursor = context.cursor
        assert isinstance(skipped, dg.SkipReason)
        return str(skipped.skip_message)


def test_people_are_told_once_across_ticks_restarts_and_reruns(tmp_path: Path, receiver: Receiver) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        watch = Watch(tmp_path, instance, receiver.address)
        watch.made(DAY, a="behind", b="on_track", c="likely_sell_out")
        receiver.status = 503
        with pytest.raises(NotSentError):
            watch.tick(DAY)
        receiver.status = 200
        assert watch.tick(DAY) == "2 new alerts as of 2026-03-31, 0 known ones still hold"
        [message] = receiver.messages
        assert message["title"] == "Concert forecasts as of 2026-03-31: 2 alerts"
        assert [line.partition(":")[0] for line in message["message"].splitlines()] == ["Behind", "Likely sell-out"]
        assert "was looked at" in watch.tick(DAY)

        watch.cursor = None
        assert watch.tick(DAY) == "0 new alerts as of 2026-03-31, 2 known ones still hold"
        watch.made(DAY, a="behind", b="behind", c="likely_sell_out")
        assert watch.tick(DAY) == "1 new alerts as of 2026-03-31, 2 known ones still hold"
        assert "(b)" in receiver.messages[1]["message"]
        assert len(receiver.messages) == 2


def test_a_dry_run_and_no_channel_send_and_remember_nothing(tmp_path: Path, receiver: Receiver) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        dry = Watch(tmp_path, instance, receiver.address, notify_dry_run=True)
        dry.made(DAY, a="behind")
        assert dry.tick(DAY) == "dry run: 1 new alerts as of 2026-03-31"
        assert "notifications are off" in Watch(tmp_path, instance, "").tick(DAY)
        assert receiver.messages == []
        assert Watch(tmp_path, instance, receiver.address).tick(DAY).startswith("1 new alerts")
        assert len(receiver.messages) == 1


def test_a_failed_day_is_told_once_when_it_is_not_launched_again(tmp_path: Path, receiver: Receiver) -> None:
    @dg.op
    def broken() -> None:
        raise ValueError("the source is gone")

    @dg.job(name="daily_forecast_job")
    def failing() -> None:
        broken()

    settings = Settings.model_validate({"home": tmp_path, "notify_urls": receiver.address})
    sensor = build_definitions(settings).get_sensor_def("failed_day_sensor")
    with dg.DagsterInstance.ephemeral() as instance:

        def fail(**tags: str) -> str:
            result = failing.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
            [event] = [e for e in result.all_events if e.event_type == dg.DagsterEventType.RUN_FAILURE]
            context = dg.build_run_status_sensor_context(
                sensor_name="failed_day_sensor",
                dagster_instance=instance,
                dagster_run=result.dagster_run,
                dagster_event=event,
            ).for_run_failure()
            return str(sensor(context).skip_message)  # type: ignore[attr-defined]

        day = {"mmt/as_of_date": "2026-03-31"}
        assert "launched again" in fail(**day, **{"dagster/will_retry": "true"})
        assert fail(**day) == "told: Forecasts of 2026-03-31 failed"
        assert fail(**day) == "2026-03-31: people were told"
        [message] = receiver.messages
        assert (message["title"], message["type"]) == ("Forecasts of 2026-03-31 failed", "failure")
        assert len(instance.get_runs(dg.RunsFilter(tags={NOTIFIED_TAG: "2026-03-31"}))) == 1
        assert fail(**{"mmt/as_of_date": "2026-04-01"}).startswith("told")
