"""Settings: what is read, what is refused, and how it is told."""

from datetime import date
from pathlib import Path

import pytest

from mmt_assets.settings import DEMO_SETTINGS, Settings, SettingsError


def read(**variables: str) -> Settings:
    return Settings.from_env({f"MMT_{name.upper()}": value for name, value in variables.items()})


def test_without_variables_everything_runs_here_on_the_sample_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = read()
    assert (settings.env, settings.source, settings.timezone, settings.daily_at) == (
        "local",
        "sample",
        "Asia/Seoul",
        "06:00",
    )
    assert (settings.reload_days, settings.first_day, settings.last_day) == (7, None, None)
    assert settings.warehouse_path == tmp_path / ".mmt" / "warehouse.duckdb"
    assert settings.source_path == tmp_path / ".mmt" / "sample"
    assert settings.exports_path == tmp_path / ".mmt" / "exports"


def test_each_variable_is_read() -> None:
    settings = read(
        env="gcp",
        source="/data/source",
        home="/data/home",
        warehouse="/data/w.duckdb",
        exports="/data/exports",
        timezone="America/New_York",
        daily_at="23:59",
        first_day="2026-01-01",
        last_day="2026-01-31",
        reload_days="0",
        fan_hash_key="secret",
    )
    assert (settings.env, settings.daily_at, settings.reload_days) == ("gcp", "23:59", 0)
    assert (settings.source_path, settings.warehouse_path) == (Path("/data/source"), Path("/data/w.duckdb"))
    assert (settings.partitions_start(), settings.last_day) == (date(2026, 1, 1), date(2026, 1, 31))
    assert settings.zone.key == "America/New_York"
    assert settings.hash_key() == "secret"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("env", "aws", "'local' or 'gcp'"),
        ("timezone", "Asia/Soul", "IANA time zone"),
        ("timezone", "../etc/passwd", "IANA time zone"),
        ("daily_at", "6am", "time of day such as 06:30"),
        ("daily_at", "24:00", "time of day such as 06:30"),
        ("first_day", "soon", "valid date"),
        ("reload_days", "-1", "greater than or equal to 0"),
        ("reload_days", "61", "less than or equal to 60"),
        ("max_rejected_share", "1.5", "less than or equal to 1"),
        ("worker_processes", "0", "greater than or equal to 1"),
        ("busy_timeout_seconds", "0", "greater than 0"),
        ("proposal_fans_by_country", "KR=many", "such as KR=500,DE=250: 'many' is no whole number above 0"),
        ("proposal_fans_by_country", "KR", "such as KR=500,DE=250"),
        ("proposal_capacities", "500,-2", "such as 500,1000,2000: '-2' is no whole number above 0"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**{name: value})
    message = str(caught.value)
    assert f"MMT_{name.upper()} is {value!r}" in message
    assert told in message


def test_all_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(SettingsError, match=r"MMT_ENV is 'x'.*; MMT_DAILY_AT is 'y'"):
        read(env="x", daily_at="y")


def test_a_misspelt_variable_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"MMT_TIME_ZONE is not a setting; known are MMT_.*MMT_TIMEZONE"):
        read(time_zone="Asia/Seoul")


def test_the_last_day_may_not_lie_before_the_first() -> None:
    with pytest.raises(SettingsError, match="MMT_FIRST_DAY 2026-02-01 lies after MMT_LAST_DAY 2026-01-31"):
        read(first_day="2026-02-01", last_day="2026-01-31")


def test_an_empty_variable_is_unset() -> None:
    assert read(timezone="", last_day="", fan_hash_key="") == read()


def test_lists_are_read_from_text() -> None:
    settings = read(proposal_fans_by_country="KR=500, DE=250", proposal_capacities="2000,500, 500")
    assert settings.fans_by_country() == {"KR": 500, "DE": 250}
    assert settings.capacities() == (500, 2000)
    assert (read().fans_by_country(), read().capacities()) == ({}, ())


def test_secrets_are_never_shown() -> None:
    settings = read(fan_hash_key="very secret")
    assert "very secret" not in f"{settings!r} {settings} {settings.to_env()}"


def test_settings_survive_the_way_through_variables() -> None:
    settings = read(
        first_day="2026-01-01", last_day="2026-02-01", reload_days="3", home="/data", timezone="Europe/Berlin"
    )
    assert Settings.from_env(settings.to_env()) == settings
    assert settings.to_env()["MMT_LAST_DAY"] == "2026-02-01"


def test_own_variables_come_before_those_of_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / DEMO_SETTINGS).write_text("MMT_TIMEZONE=Europe/Berlin\nMMT_RELOAD_DAYS=3\n")  # pragma: allowlist secret
    monkeypatch.setenv("MMT_HOME", str(tmp_path))
    monkeypatch.setenv("MMT_RELOAD_DAYS", "5")
    settings = Settings.from_env()
    assert (settings.timezone, settings.reload_days) == ("Europe/Berlin", 5)
    monkeypatch.setenv("MMT_ENV", "gcp")
    assert Settings.from_env().timezone == "Asia/Seoul"


def test_settings_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read().timezone = "UTC"


def test_production_needs_a_fan_hash_key_of_its_own_only_when_it_is_used() -> None:
    production = Settings.from_env({"MMT_ENV": "gcp"})
    with pytest.raises(SettingsError, match="MMT_FAN_HASH_KEY is unset"):
        production.hash_key()
    assert Settings.from_env({"MMT_ENV": "gcp", "MMT_FAN_HASH_KEY": "secret"}).hash_key() == "secret"
    assert Settings.from_env({}).hash_key()
