"""Settings of notifications."""

from pydantic import Field, SecretStr

from mmt_assets.setting_groups.group import SettingsGroup


class NotificationSettings(SettingsGroup):
    """Who is told what, and how often."""

    notify_urls: SecretStr | None = Field(
        None, description="Channels as Apprise addresses, separated by spaces; unset: nobody is told"
    )
    notify_dry_run: bool = Field(default=False, description="Write notifications to the sensor's log instead")
    notify_again_days: int = Field(7, ge=1, description="Days after which an alert that had ended counts as new")

    def channels(self) -> tuple[str, ...]:
        """Addresses of the channels; they hold secrets."""
        return tuple(self.notify_urls.get_secret_value().split()) if self.notify_urls else ()

    def notifies(self) -> bool:
        """Whether notifications are on, for real or as a dry run."""
        return bool(self.channels()) or self.notify_dry_run
