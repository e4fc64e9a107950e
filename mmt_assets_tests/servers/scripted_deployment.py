"""A code server whose one asset is made on the analysis server, and what a person does with its runs in the UI."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil
from dagster_graphql.cli import execute_query

from mmt_assets.job_names import DAILY_JOB
from mmt_assets_tests.servers import scripted_location
from mmt_assets_tests.servers.analysis_server import AnalysisServer, messages
from mmt_assets_tests.servers.dagster_deployment import ENDED, Deployment, status, wait_until

_ROOT = Path(__file__).parents[2]
_TERMINATE = """
mutation($run: String!) {
  terminateRun(runId: $run) { __typename ... on TerminateRunFailure { message } ... on PythonError { message } }
}
"""
# Runs start at once: no daemon takes part.
_DIRECT = """
run_coordinator:
  module: dagster._core.run_coordinator
  class: DefaultRunCoordinator
"""


class ScriptedDeployment(Deployment):
    """A code server whose one asset is made by the scripted worker."""

    module = scripted_location.__name__


@contextmanager
def deployment(folder: Path, server: AnalysisServer) -> Iterator[ScriptedDeployment]:
    (folder / "dagster.yaml").write_text((_ROOT / "dagster.yaml").read_text() + _DIRECT)
    made = ScriptedDeployment(folder, **server.variables)
    # The tests are no installed package.
    made.environment |= {scripted_location.FOLDER: str(server.folder), "PYTHONPATH": str(_ROOT)}
    try:
        yield made
    finally:
        made.down()


def run_process(instance: dg.DagsterInstance, run_id: str) -> psutil.Process:
    """The run's process, from the event in which Dagster notes it."""
    told = " ".join(text for _, text in messages(instance, run_id))
    found = re.search(r"\(pid: (\d+)\)", told)
    assert found, told
    return psutil.Process(int(found[1]))


def start_busy_run(made: ScriptedDeployment, instance: dg.DagsterInstance, server: AnalysisServer) -> str:
    """Launch a run and wait for its worker's first word."""
    server.script("log busy", "wait go", "report 7")
    run_id = made.launch(instance, dg.RunRequest(job_name=DAILY_JOB))

    def is_busy() -> bool:
        assert status(instance, run_id) not in ENDED, messages(instance, run_id)
        return any(text == "busy" for _, text in messages(instance, run_id))

    wait_until(is_busy, 120, "the worker's first word")
    return run_id


def terminate_in_the_ui(made: ScriptedDeployment, instance: dg.DagsterInstance, run_id: str) -> None:
    with made.workspace(instance) as workspace:
        answer = execute_query(workspace, _TERMINATE, {"run": run_id})
    told = (answer.get("data") or {}).get("terminateRun", {})
    assert told.get("__typename") == "TerminateRunSuccess", answer
