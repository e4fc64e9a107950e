"""Settings of the forecast on a Spark cluster."""

from pydantic import Field

from mmt_assets.setting_groups.group import SettingsGroup


class SparkSettings(SettingsGroup):
    """Where the day's forecasts are spread to when one machine does not make them in time."""

    spark_master: str | None = Field(
        None,
        pattern=r"^(yarn|local(-cluster)?\[[\d*, ]+\]|spark://.+)$",
        description="Spark master for the day's forecasts, such as local-cluster[2,1,2048]; on Dataproc yarn",
    )
    dataproc_cluster: str | None = Field(
        None, pattern=r"^[a-z][a-z0-9-]{0,50}$", description="Dataproc cluster that makes whole days with MMT_ENV=gcp"
    )
    dataproc_region: str = Field("asia-northeast3", description="Region of that cluster")
    dataproc_code: str = Field(
        "/opt/mmt_assets", pattern=r"^/", description="Checkout with its .venv on the nodes (infra/dataproc)"
    )
    dataproc_endpoint: str | None = Field(None, pattern=r"^https?://[^\s/]+$", description="A test server for Dataproc")
