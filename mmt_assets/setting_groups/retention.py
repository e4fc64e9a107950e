"""Settings of what is kept, and for how long."""

from pydantic import Field

from mmt_assets.setting_groups.group import SettingsGroup


class RetentionSettings(SettingsGroup):
    """How long Dagster's instance remembers runs, and concerts their partition."""

    keep_runs_days: int = Field(
        90,
        ge=7,
        description="Days that a finished run keeps its log; what it made stays while it is the latest",
    )
    finished_partition_days: int = Field(30, ge=0, description="Days that a finished concert keeps its partition")
