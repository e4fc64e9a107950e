"""The code location that Dagster loads."""

from mmt_assets.build import build_definitions
from mmt_assets.logs import log_as_json_lines
from mmt_assets.settings import Settings

settings = Settings.from_env()
if settings.env == "gcp":
    log_as_json_lines()
defs = build_definitions(settings)
