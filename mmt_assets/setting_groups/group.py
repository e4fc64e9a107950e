"""What every group of settings is."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


# Several values in one variable.
CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(_split)]


class SettingsError(Exception):
    """A setting is wrong; the message names the variable, what was given and what is allowed."""


class SettingsGroup(BaseModel):
    """Frozen, and nothing that is not declared may be given. Nothing here reads the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")
