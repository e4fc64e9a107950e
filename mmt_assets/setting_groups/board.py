"""Settings of the outlook board."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from mmt_assets.setting_groups.group import SettingsGroup


def _place(text: str) -> str:
    if text.startswith("gs://") and not re.fullmatch(r"gs://[a-z0-9][a-z0-9._-]+/\S+", text):
        raise ValueError("expected a file, or gs://bucket/object")
    return text


class BoardSettings(SettingsGroup):
    """Where the board is kept and what it links to."""

    board: Annotated[str, AfterValidator(_place)] | None = Field(
        None,
        min_length=1,
        description="Outlook board: a file, or gs://bucket/object; default <home>/board/outlook.html, with gcp "
        "gs://<project>-mmt-logs/board/outlook.html",
    )
    dagster_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s\"'<>]+[^\s\"'<>/]$",
        description="Address of Dagster's UI that pages link to, without a slash at the end; "
        "default http://127.0.0.1:3000 with MMT_ENV=local",
    )
