"""What the analysis server adds to its work: python -m benchmarks.analysis_server --json.

Real runs against the tests' servers of Compute Engine and Cloud Storage, each a process of its own. Their machines are
process trees that boot in half a second: what is measured is what this project adds, not what Google's machines take.

- log: from the worker's words to the run's log;
- stop: from the worker's last step to the call that ends its machine;
- overhead: what a run takes beside the machine's boot (start call to first word), the worker's work and waiting for
  the machine to be gone;
- import: what a run's process imports beside the definitions, once;
- terminate: from a person's click to the call that ends the machine, the run in a process of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, chdir
from pathlib import Path
from typing import Any

import dagster as dg

from mmt_assets_tests.servers.analysis_server import AnalysisServer, messages
from mmt_assets_tests.servers.compute_engine.fixture import ComputeEngineServer, running_server
from mmt_assets_tests.servers.compute_engine.image import build_image
from mmt_assets_tests.servers.dagster_deployment import status, wait_until
from mmt_assets_tests.servers.gcs import running_gcs
from mmt_assets_tests.servers.scripted_deployment import deployment, start_busy_run, terminate_in_the_ui

_LINES = 12


def measure_run(server: AnalysisServer) -> dict[str, float]:
    """One run with a machine: seconds of each part."""
    steps = [step for n in range(_LINES) for step in (f"touch said-{n}", f"log line {n}", "sleep 0.7")]
    server.script(*steps, "report 1", "touch ended")
    with dg.DagsterInstance.ephemeral() as instance:
        began = time.monotonic()
        result = server.run(instance)
        whole = time.monotonic() - began
        if not result.success:
            raise RuntimeError(f"the run failed: {messages(instance, result.run_id)[-5:]}")
        logged = {text: at for at, text in messages(instance, result.run_id)}
    [made] = result.asset_materializations_for_node("heavy")
    told = {name: float(str(made.metadata[name].value)) for name in made.metadata if name.endswith("_seconds")}
    delays = [logged[f"line {n}"] - float((server.folder / f"said-{n}").read_text()) for n in range(_LINES)]
    stopped = next(call["at"] for call in server.calls("delete"))
    parts = ("machine_boot_seconds", "machine_work_seconds", "machine_end_seconds")
    return {
        "log_median": statistics.median(delays),
        "log_worst": max(delays),
        "stop_after_worker": stopped - float((server.folder / "ended").read_text()),
        "boot": told["machine_boot_seconds"],
        "work": told["machine_work_seconds"],
        "gone": told["machine_end_seconds"],
        "overhead": whole - sum(told[part] for part in parts),
        "whole_run": whole,
    }


def measure_termination(server: AnalysisServer, folder: Path) -> float:
    """From the click to the call that ends the machine, in seconds."""
    with deployment(folder, server) as made, dg.DagsterInstance.from_config(str(folder)) as instance:
        made.start_code_server()
        run_id = start_busy_run(made, instance, server)
        clicked = time.time()
        terminate_in_the_ui(made, instance, run_id)
        wait_until(lambda: status(instance, run_id) == dg.DagsterRunStatus.CANCELED, 120, "the run's end")
        return next(call["at"] for call in server.calls("delete")) - clicked


def measure_import() -> float:
    """Seconds that a run's process takes to import what only runs on the analysis server need."""
    code = (
        "import time, mmt_assets.definitions; began = time.perf_counter(); "
        "import mmt_assets.resources.server_session, mmt_assets.gcp.compute_engine; print(time.perf_counter() - began)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure(runs: int) -> dict[str, Any]:
    """All measurements; of the runs' parts the median and the worst."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("cloud", "gcs", "image"):
            (folder / name).mkdir()
        endpoint = stack.enter_context(running_server(folder / "cloud"))
        gcs = stack.enter_context(running_gcs(folder / "gcs"))
        image = build_image(folder / "image")

        def new_server(name: str) -> AnalysisServer:
            (folder / name).mkdir()
            return AnalysisServer(ComputeEngineServer(endpoint, f"mmt-bench-{name}", image), gcs, folder / name)

        later = [measure_run(new_server(f"run-{n}")) for n in range(runs)]
        project = folder / "project"
        project.mkdir()
        # Its storage has relative directories.
        stack.enter_context(chdir(project))
        terminated = measure_termination(new_server("terminated"), project)
    return {
        "runs": runs,
        "seconds": {
            part: {
                "median": round(statistics.median(run[part] for run in later), 2),
                "worst": round(max(run[part] for run in later), 2),
            }
            for part in later[0]
        },
        "import_seconds": round(measure_import(), 2),
        "terminate_to_stop_call_seconds": round(terminated, 2),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.analysis_server", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    figures = measure(options.runs)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{'seconds':<20}{'median':>8}{'worst':>8}   of {figures['runs']} runs")
    for part, values in figures["seconds"].items():
        print(f"{part:<20}{values['median']:>8}{values['worst']:>8}")
    print(f"a run's process imports Google's clients, once: {figures['import_seconds']} s")
    print(f"from the click on Terminate to the stop call: {figures['terminate_to_stop_call_seconds']} s")


if __name__ == "__main__":
    main(sys.argv[1:])
