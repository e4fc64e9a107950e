"""Entry point: `python -m mmt_assets.worker`, with the job in the Pipes context."""

import argparse
import logging
import os
import sys

from mmt_assets.worker.job import WorkerJob
from mmt_assets.worker.link import RunLink
from mmt_assets.worker.pipes import open_pipes


def main() -> None:
    """Read the job, do it, report."""
    # Prophet's solver announces every fit.
    logging.getLogger("cmdstanpy").setLevel(logging.WARNING)
    logging.getLogger("prophet").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(prog="python -m mmt_assets.worker")
    parser.add_argument("--heartbeat-seconds", type=float, help="stdin is a socket to the run: work, then heartbeats")
    # On Dataproc, Pipes has arguments of its own.
    heartbeat_seconds = parser.parse_known_args()[0].heartbeat_seconds
    link = RunLink(heartbeat_seconds) if heartbeat_seconds else None
    if link:
        link.watch()
        _preload()
        # Where Pipes and Spark look for them.
        os.environ.update(link.wait_for_work())
    pipes, storage_link = open_pipes()
    with pipes:
        # Inside the session, so that a broken environment is reported to the run as well.
        from mmt_assets.worker.scenario import run_scenario  # noqa: PLC0415
        from mmt_assets.worker.work import run_job  # noqa: PLC0415

        job = WorkerJob.model_validate(pipes.extras["job"])
        (run_scenario if job.scenario else run_job)(job, pipes, link or storage_link)


def _preload() -> None:
    """Load what any work needs, while the run still prepares it."""
    try:
        import mmt_assets.worker.work  # noqa: F401, PLC0415
        from mmt_assets.forecasting.preload import preload  # noqa: PLC0415

        preload()
    except Exception:
        # It is met again inside the Pipes session, which reports it to the run.
        logging.getLogger(__name__).exception("could not load everything ahead")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        # This is how its run ends it; the run says why.
        os._exit(130)
    # Everything is written and reported: tearing the interpreter down would only take time and print leaks.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
