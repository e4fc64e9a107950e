"""`python -m mmt_assets`."""

from mmt_assets.cli import app

if __name__ == "__main__":
    app()
