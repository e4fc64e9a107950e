"""The code location that Dagster loads."""

from mmt_assets.build import build_definitions
from mmt_assets.settings import Settings

defs = build_definitions(Settings.from_env())
