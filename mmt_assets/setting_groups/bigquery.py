"""Settings of BigQuery, the warehouse with `MMT_ENV=gcp`."""

from typing import Annotated

from pydantic import AfterValidator, Field

from mmt_assets.setting_groups.group import SettingsGroup

_PREFIX_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def _dataset_letters(prefix: str) -> str:
    if set(prefix) - _PREFIX_LETTERS:
        raise ValueError("expected letters, digits and underscores, as in a dataset's name")
    return prefix


class BigQuerySettings(SettingsGroup):
    """Where the datasets are and how much one statement may read."""

    dataset_prefix: Annotated[str, AfterValidator(_dataset_letters)] = Field(
        "", max_length=100, description="What the names of the datasets begin with: <prefix>raw, <prefix>features, ..."
    )
    max_scan_gib: float = Field(100, gt=0, description="Most GiB that one BigQuery statement may read")
    bigquery_endpoint: str | None = Field(None, description="Address of an emulator instead of BigQuery")
    bigquery_storage_endpoint: str | None = Field(
        None, description="host:port of an emulator's Storage API, without TLS; needed with MMT_BIGQUERY_ENDPOINT"
    )
