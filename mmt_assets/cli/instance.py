"""The Dagster instance of this project, opened from the folder that holds dagster.yaml."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from mmt_assets.settings import dagster_home


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """Open the instance that `dagster dev` in this folder uses.

    Raises:
        FileNotFoundError: The folder has no dagster.yaml.
    """
    home = dagster_home()
    if not (home / "dagster.yaml").is_file():
        raise FileNotFoundError(f"{home} has no dagster.yaml: run this in the project's folder or set DAGSTER_HOME")
    before = Path.cwd()
    # Its directories are relative to the folder.
    os.chdir(home)
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield instance
    finally:
        os.chdir(before)
