"""`make demo-gcp-local`, as somebody types it: a message, a machine, forecasts, a ledger."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmt_assets_tests.servers.bigquery import EMULATOR_PYTHON
from mmt_assets_tests.servers.dagster_deployment import end_tree
from mmt_assets_tests.servers.required import missing

ROOT = Path(__file__).parents[2]


@pytest.mark.chaos
@pytest.mark.timeout(1500)
def test_a_day_on_google_cloud_from_the_request_to_the_ledger(tmp_path: Path) -> None:
    if not EMULATOR_PYTHON.exists():
        missing("BigQuery's emulator", "make .venv-emulators/installed")
    command = [sys.executable, "-m", "mmt_assets_tests.local_cloud", "--days", "10"]
    with (tmp_path / "printed").open("w") as printed:
        process = subprocess.Popen(command, cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(1400)
        finally:
            end_tree(process)
    text = (tmp_path / "printed").read_text()
    assert code == 0, text
    for status in ("PROVISIONING", "RUNNING", "STOPPING", "gone"):
        assert re.search(rf"europe-west1-./mmt-analysis-\w+-1: {status}", text), f"{status}\n{text}"
    assert "says phase work" in text
    assert "says exit 0" in text
    assert "vm_billed_seconds" in text
    ledger = text[text.index("operations.vm_ledger") :]
    assert re.search(r"mmt-analysis-\w+-1\s+spot\s+\d+", ledger), ledger
