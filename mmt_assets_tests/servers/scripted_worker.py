"""A worker that does what its test says: `python -m mmt_assets_tests.servers.scripted_worker`, instead of forecasts.

It reports as the real one does. The warehouse's path of its job is a folder, and these the lines of `script` in it:

    log TEXT | report ROWS | sleep SECONDS | wait FILE | touch FILE | require-current | fail TEXT | exit CODE | kill
"""

import os
import signal
import sys
import time
from pathlib import Path

from dagster_pipes import PipesContext

from mmt_assets.worker.link import RunLink
from mmt_assets.worker.pipes import open_pipes


class Worker:
    """What a script may ask for."""

    def __init__(self, folder: Path, pipes: PipesContext, link: RunLink | None) -> None:
        self.folder = folder
        self.pipes = pipes
        self.link = link

    def log(self, text: str) -> None:
        self.pipes.log.info(text)

    def report(self, rows: str) -> None:
        self.pipes.report_asset_materialization(metadata={"rows": int(rows)})

    def sleep(self, seconds: str) -> None:
        time.sleep(float(seconds))

    def wait(self, file: str) -> None:
        while not (self.folder / file).exists():
            time.sleep(0.05)

    def touch(self, file: str) -> None:
        (self.folder / file).write_text(str(time.time()))

    def require_current(self, _: str) -> None:
        assert self.link is not None
        self.link.require_current()

    def fail(self, text: str) -> None:
        raise RuntimeError(text)

    def exit(self, code: str) -> None:
        os._exit(int(code))

    def kill(self, _: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    pipes, link = open_pipes()
    with pipes:
        # Not through the job's model, whose import takes longer than a script.
        folder = Path(pipes.extras["job"]["warehouse"]["path"])
        worker = Worker(folder, pipes, link)
        for line in (folder / "script").read_text().splitlines():
            command, _, argument = line.partition(" ")
            getattr(worker, command.replace("-", "_"))(argument)
        pipes.report_custom_message({"done": True})


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
