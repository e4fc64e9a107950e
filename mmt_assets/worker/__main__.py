"""Entry point: `python -m mmt_assets.worker`, with the job in the Pipes context."""

import logging
import os
import signal
import sys
import threading

from dagster_pipes import open_dagster_pipes

from mmt_assets.worker.job import WorkerJob


def _end_with_parent() -> None:
    """Kill this process and its children as soon as the run that started it is gone."""
    # Unbuffered: a thread inside sys.stdin would keep the interpreter from shutting down.
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Read the job, do it, report."""
    # Prophet's solver announces every fit.
    logging.getLogger("cmdstanpy").setLevel(logging.WARNING)
    logging.getLogger("prophet").setLevel(logging.WARNING)
    if "--with-parent" in sys.argv:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    with open_dagster_pipes() as pipes:
        # Inside the session, so that a broken environment is reported to the run as well.
        from mmt_assets.worker.work import run_job  # noqa: PLC0415

        run_job(WorkerJob.model_validate(pipes.extras["job"]), pipes)


if __name__ == "__main__":
    main()
    # Everything is written and reported: tearing the interpreter down would only take time and print leaks.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
