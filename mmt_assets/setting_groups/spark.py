"""Settings of the forecast on a Spark cluster."""

from pydantic import Field

from mmt_assets.setting_groups.group import SettingsGroup


class SparkSettings(SettingsGroup):
    """Where the day's forecasts are spread to when one machine does not make them in time."""

    spark_master: str | None = Field(
        None,
        pattern=r"^(local(-cluster)?\[[\d*, ]+\]|spark://.+)$",
        description="Spark master for the day's forecasts, such as local-cluster[2,1,2048]; unset: no Spark",
    )
