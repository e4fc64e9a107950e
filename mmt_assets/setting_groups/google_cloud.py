"""Settings that every Google Cloud service shares."""

from pydantic import Field

from mmt_assets.setting_groups.group import SettingsError, SettingsGroup


class GoogleCloudSettings(SettingsGroup):
    """The project that everything runs in."""

    project: str | None = Field(None, min_length=6, description="Google Cloud project id; needed with MMT_ENV=gcp")

    def project_id(self) -> str:
        """Google Cloud project.

        Raises:
            SettingsError: `MMT_PROJECT` is unset.
        """
        if self.project is None:
            raise SettingsError("MMT_PROJECT is unset: with MMT_ENV=gcp it names the Google Cloud project")
        return self.project
