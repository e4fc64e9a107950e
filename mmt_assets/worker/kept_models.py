"""What was learned from a day's inputs, kept beside the warehouse: the next forecast from the same inputs begins there.

Learning takes seconds and gives the same for every concert. After the day's run, a concert on demand needs none of it.
"""

import hashlib
import pickle
import time
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path

import pandas as pd
from dagster_pipes import PipesContext

from mmt_assets.atomic_file import replacing
from mmt_assets.forecasting import ForecastInputs, ForecastOptions
from mmt_assets.forecasting.chunks import Task
from mmt_assets.forecasting.model import learn_task

KEPT = 2
"""Files that stay, those that were written last: as a rule the last day's, and one of another day."""


class KeptModels:
    """Learns as `learn_task` does, once for the same inputs, options and code.

    Attributes:
        directory: Where the files are; the run's own, as whatever is in a pickle is run when it is read.
        lock_hash: SHA-256 of the lock file: another version of a library may learn something else.
        pipes: Where to say what could not be read or kept.
    """

    def __init__(self, directory: Path, lock_hash: str, pipes: PipesContext) -> None:
        self.directory = directory
        self.lock_hash = lock_hash
        self.pipes = pipes

    def learn(self, inputs: ForecastInputs, as_of: date, options: ForecastOptions) -> Task:
        """Return what was learned from these inputs before, or learn and keep it.

        Raises:
            ValueError: As `learn_task`.
        """
        path = self.directory / f"{as_of}-{self._key(inputs, as_of, options)}.pickle"
        task = self._read(path)
        if task is None:
            task = learn_task(inputs, as_of, options)
            self._keep(path, task)
        return replace(task, options=options)

    def _key(self, inputs: ForecastInputs, as_of: date, options: ForecastOptions) -> str:
        # How many processes work changes nothing of the result.
        chosen = asdict(replace(options, processes=1))
        digest = hashlib.sha256(f"{as_of} {sorted(chosen.items())} {self.lock_hash} {_library_hash()}".encode())
        for frame in (inputs.concerts, inputs.sales, inputs.demand):
            digest.update(f"{list(frame.dtypes.items())} {len(frame)}".encode())
            digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
        return digest.hexdigest()[:32]

    def _read(self, path: Path) -> Task | None:
        try:
            with path.open("rb") as file:
                task = pickle.load(file)  # noqa: S301 - a run of this project wrote it, into its own directory
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 - a broken pickle raises whatever it likes
            self.pipes.log.warning(f"{path} cannot be read ({type(error).__name__}: {error}): learned anew")
            return None
        self.pipes.log.info(f"{path.name}: learned before from the same inputs")
        return task

    def _keep(self, path: Path, task: Task) -> None:
        """Write the file as a whole, and remove those that are too many."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with replacing(path, mode=0o600) as temporary, temporary.open("wb") as file:
                pickle.dump(task, file, pickle.HIGHEST_PROTOCOL)
            surplus = sorted(self.directory.glob("*.pickle"), key=_written_at, reverse=True)[KEPT:]
            # Whoever was killed while it wrote an hour ago will not come back to it.
            abandoned = [file for file in self.directory.glob(".*.tmp") if _written_at(file) < time.time() - 3600]
            for old in (*surplus, *abandoned):
                old.unlink(missing_ok=True)
        except OSError as error:
            self.pipes.log.warning(f"{path} could not be kept ({error}): the next forecast learns again")


def _written_at(path: Path) -> float:
    # Another process may have removed it meanwhile.
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


@cache
def _library_hash() -> str:
    """SHA-256 of the forecasting library's code, as it is on the disk."""
    digest = hashlib.sha256()
    for path in sorted(Path(str(files("mmt_assets.forecasting"))).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
