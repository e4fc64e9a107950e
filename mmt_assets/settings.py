"""The only place that reads the environment: one frozen, validated model."""

import os
import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator

from mmt_assets.setting_groups.analysis_server import AnalysisServerSettings
from mmt_assets.setting_groups.analysts import AnalystSettings
from mmt_assets.setting_groups.bigquery import BigQuerySettings
from mmt_assets.setting_groups.board import BoardSettings
from mmt_assets.setting_groups.group import SettingsError
from mmt_assets.setting_groups.messages import MessagesSettings
from mmt_assets.setting_groups.notifications import NotificationSettings
from mmt_assets.setting_groups.retention import RetentionSettings
from mmt_assets.setting_groups.spark import SparkSettings

__all__ = ["PREFIX", "Settings", "SettingsError", "dagster_home"]

PREFIX = "MMT_"
# Written by `make demo`, so that the UI and the command line see the same source and days afterwards.
DEMO_SETTINGS = "demo.env"
_DEVELOPMENT_KEY = "local-development-key"
# Long enough for the sample world's eighteen months; a real source names its own first day.
DEFAULT_HISTORY_DAYS = 548


def _known_timezone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("expected an IANA time zone such as Asia/Seoul")
    return name


def _time_of_day(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise ValueError("expected a time of day such as 06:30")
    return text


class Settings(
    AnalysisServerSettings,
    AnalystSettings,
    BigQuerySettings,
    BoardSettings,
    MessagesSettings,
    NotificationSettings,
    RetentionSettings,
    SparkSettings,
):
    """Everything that can be set, each from the variable `MMT_<NAME>`.

    Raises:
        SettingsError: From `from_env`, when a value is not allowed.
    """

    env: Literal["local", "gcp"] = Field("local", description="local: this machine alone; gcp: Google Cloud")
    source: str = Field(
        "sample", min_length=1, description="'sample', a directory of Parquet or CSV files, or bigquery:PROJECT.DATASET"
    )
    home: Path = Field(Path(".mmt"), description="Directory of the local warehouse, the sample world and exports")
    warehouse: Path | None = Field(None, description="DuckDB file; default <home>/warehouse.duckdb")
    exports: Path | None = Field(None, description="Directory of the Parquet exports; default <home>/exports")
    timezone: Annotated[str, AfterValidator(_known_timezone)] = Field(
        "Asia/Seoul", description="Business time zone: a business day is a calendar day in it"
    )
    daily_at: Annotated[str, AfterValidator(_time_of_day)] = Field(
        "06:00", description="Time of day, in the business time zone, of the daily forecast"
    )
    first_day: date | None = Field(None, description="First day of the day partitions")
    last_day: date | None = Field(None, description="Last day that exists; default yesterday. Freezes a past source")
    reload_days: int = Field(7, ge=0, le=60, description="Days before a day that are read again with it")
    max_rejected_share: float = Field(0.02, ge=0, le=1, description="Share of rejected rows above which a check fails")
    max_partitions_per_run: int = Field(2000, ge=1, description="Longest range of days in one run of a backfill")
    max_forecast_days_per_run: int = Field(
        14, ge=1, description="Most as-of dates in one run of a backfill; the morning's run waits for no more"
    )
    max_catch_up_days: int = Field(31, ge=1, description="Most missing days that one daily run forecasts")
    heartbeat_seconds: float = Field(60, gt=0, description="How often a run at work says that it lives")
    stale_after_heartbeats: int = Field(15, ge=2, description="Heartbeats without any event after which a run is dead")
    max_concert_events: int = Field(200, ge=0, description="Most concerts for which a daily run records an event each")
    busy_timeout_seconds: float = Field(120, gt=0, description="How long to wait for another process's warehouse lock")
    worker_processes: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, le=256, description="Processes that fit models"
    )
    worker_timeout_seconds: float = Field(6 * 3600, gt=0, description="Longest time that a worker may take")
    fan_hash_key: SecretStr | None = Field(None, description="Key of the hash that fan ids are stored as")

    @model_validator(mode="after")
    def _days_in_order(self) -> "Settings":
        if self.first_day and self.last_day and self.first_day > self.last_day:
            raise ValueError(f"MMT_FIRST_DAY {self.first_day} lies after MMT_LAST_DAY {self.last_day}")
        return self

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read `MMT_` variables; those that are unset come from `<home>/demo.env`, which `make demo` writes.

        Args:
            environment: Variables to read instead of the process's own and the file.

        Raises:
            SettingsError: A value is not allowed, or a variable is not known.
        """
        if environment is None:
            own = {k: v for k, v in os.environ.items() if k.startswith(PREFIX)}
            home = Path(own.get("MMT_HOME") or cls.model_fields["home"].default)
            from_demo = dotenv_values(home / DEMO_SETTINGS) if own.get("MMT_ENV", "local") == "local" else {}
            environment = {k: v for k, v in from_demo.items() if v is not None} | own
            # What Google's own tools are told by; passed over, a request meant for an emulator would reach the service.
            if emulator := os.environ.get("PUBSUB_EMULATOR_HOST"):
                environment = {f"{PREFIX}PUBSUB_EMULATOR": emulator} | environment
        given = {
            key.removeprefix(PREFIX).lower(): value
            for key, value in environment.items()
            if key.startswith(PREFIX) and value != "" and key not in _NOT_SETTINGS
        }
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            raise SettingsError(_explain(error, given)) from None
        return settings

    @property
    def warehouse_path(self) -> Path:
        """DuckDB file, absolute."""
        return (self.warehouse or self.home / "warehouse.duckdb").absolute()

    @property
    def exports_path(self) -> Path:
        """Directory of the Parquet exports, absolute."""
        return (self.exports or self.home / "exports").absolute()

    @property
    def models_path(self) -> Path:
        """Directory of what was learned, absolute."""
        return (self.home / "models").absolute()

    @property
    def board_place(self) -> str:
        """Where the outlook board is kept: an absolute path, or `gs://bucket/object`.

        Raises:
            SettingsError: With `MMT_ENV=gcp`, neither `MMT_BOARD` nor `MMT_PROJECT` is set.
        """
        if self.board is None and self.env == "gcp":
            return f"gs://{self.project_id()}-mmt-logs/board/outlook.html"
        place = self.board or str(self.home / "board" / "outlook.html")
        return place if place.startswith("gs://") else str(Path(place).absolute())

    @property
    def dagster_address(self) -> str | None:
        """Address of Dagster's UI; None where it is not known."""
        return self.dagster_url or ("http://127.0.0.1:3000" if self.env == "local" else None)

    @property
    def source_location(self) -> str:
        """Where the source is: `bigquery:project.dataset`, or the path of a directory."""
        return self.source if self.source.startswith("bigquery:") else str(self.source_path)

    @property
    def source_path(self) -> Path:
        """Directory of the source files, absolute; the sample world has one of its own."""
        return (self.home / "sample" if self.source == "sample" else Path(self.source)).absolute()

    def hash_key(self) -> str:
        """Key of the hash that fan ids are stored as; a laptop has one for development, production must bring its own.

        Raises:
            SettingsError: `MMT_FAN_HASH_KEY` is unset with `MMT_ENV=gcp`.
        """
        if self.fan_hash_key is not None:
            return self.fan_hash_key.get_secret_value()
        if self.env == "gcp":
            raise SettingsError("MMT_FAN_HASH_KEY is unset: with MMT_ENV=gcp fan ids need a secret key of your own")
        return _DEVELOPMENT_KEY

    @property
    def zone(self) -> ZoneInfo:
        """Business time zone."""
        return ZoneInfo(self.timezone)

    def last_complete_day(self, now: datetime) -> date:
        """Last business day that is over at the instant `now` (aware), or `last_day` when that is set."""
        return self.last_day or now.astimezone(self.zone).date() - timedelta(days=1)

    def partitions_start(self) -> date:
        """First day of the day partitions: `first_day`, else a fixed day that the sample world covers."""
        if self.first_day:
            return self.first_day
        return self.last_day - timedelta(days=DEFAULT_HISTORY_DAYS) if self.last_day else date(2025, 6, 1)

    def to_env(self) -> dict[str, str]:
        """The settings that differ from their defaults, as variables; secrets are left out."""
        fields = self.model_dump(exclude_unset=True, exclude=set(_SECRETS))
        return {f"{PREFIX}{name.upper()}": _as_text(value) for name, value in fields.items() if value is not None}


def _as_text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


# Never shown and never written down.
_SECRETS = frozenset({"fan_hash_key", "notify_urls"})
# Read by the tests alone; not a setting of the product.
_NOT_SETTINGS = frozenset({"MMT_REQUIRE_EMULATORS"})


def _explain(error: ValidationError, given: Mapping[str, Any]) -> str:
    """One line per wrong setting: the variable, what was given, what is allowed."""
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "extra_forbidden":
            known = ", ".join(sorted(f"{PREFIX}{field.upper()}" for field in Settings.model_fields))
            lines.append(f"{PREFIX}{name.upper()} is not a setting; known are {known}")
        elif not name:
            lines.append(problem["msg"].removeprefix("Value error, "))
        else:
            shown = "(hidden)" if name in _SECRETS else repr(given.get(name))
            purpose = Settings.model_fields[name].description
            lines.append(
                f"{PREFIX}{name.upper()} is {shown}: {problem['msg'].removeprefix('Value error, ')} ({purpose})"
            )
    return "; ".join(lines)


def dagster_home() -> Path:
    """Folder of dagster.yaml: DAGSTER_HOME, else the current one, as `dagster dev` has it."""
    return Path(os.environ.get("DAGSTER_HOME") or Path.cwd()).absolute()
