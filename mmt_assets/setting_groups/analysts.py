"""Settings of what analysts and promoters look at."""

from pydantic import Field

from mmt_assets.setting_groups.group import SettingsGroup


class AnalystSettings(SettingsGroup):
    """The accuracy table and proposals of concerts."""

    accuracy_concerts: int = Field(
        100, ge=10, description="Last completed concerts on which the published forecasts are judged"
    )
