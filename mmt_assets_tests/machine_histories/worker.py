"""A history's worker: works for a while, writes its result if its run is current, reports it, ends as the plot says."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from dagster_pipes import PipesContext

from mmt_assets.worker.link import RunLink, RunNotCurrentError
from mmt_assets.worker.pipes import open_pipes


def main() -> None:
    pipes, link = open_pipes()
    with pipes:
        folder = Path(pipes.extras["job"]["warehouse"]["path"])
        script = json.loads((folder / "script.json").read_text())
        _work(folder, script, pipes, link)


def _work(folder: Path, script: dict[str, Any], pipes: PipesContext, link: RunLink | None) -> None:
    pipes.log.info("at work")
    _note(folder, "work", pipes.run_id)
    time.sleep(script["work_seconds"])
    ending = script["ending"]
    if ending == "fails":
        raise RuntimeError("the input is wrong")
    if ending == "exits":
        os._exit(3)
    if ending == "is_killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if ending == "hangs":
        # Nothing more is heard of it, though its process lives.
        os.kill(os.getpid(), signal.SIGSTOP)
    assert link is not None
    try:
        link.require_current()
    except RunNotCurrentError:
        _note(folder, "refused", pipes.run_id)
        raise
    _note(folder, "written", pipes.run_id)
    pipes.report_asset_materialization(metadata={"rows": 1})


def _note(folder: Path, what: str, run_id: str) -> None:
    line = json.dumps({"at": time.time(), "who": "worker", "what": what, "run_id": run_id, "pid": os.getpid()})
    with (folder / "log.jsonl").open("a") as log:
        log.write(line + "\n")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
