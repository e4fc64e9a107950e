"""Settings of forecast requests that arrive as messages."""

from pydantic import Field

from mmt_assets.setting_groups.group import SettingsGroup


class MessagesSettings(SettingsGroup):
    """Where Pub/Sub is and how requests are taken from it."""

    pubsub_emulator: str | None = Field(
        None,
        pattern=r"^[^\s/:]+:\d{1,5}$",
        description="host:port of a Pub/Sub emulator instead of the service; default PUBSUB_EMULATOR_HOST",
    )
    request_interval_seconds: int = Field(5, ge=1, le=3600, description="How often forecast requests are looked for")
    request_max_age_hours: float = Field(
        72, gt=0, description="Age above which a forecast request is rejected as expired"
    )
