"""What every group of settings is."""

from pydantic import BaseModel, ConfigDict


class SettingsError(Exception):
    """A setting is wrong; the message names the variable, what was given and what is allowed."""


class SettingsGroup(BaseModel):
    """Frozen, and nothing that is not declared may be given. Nothing here reads the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")
