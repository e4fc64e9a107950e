"""The command line: `python -m mmt_assets`."""

from mmt_assets.cli.main import app

__all__ = ["app"]
