"""HTTP in front of it all: finds the project, answers in JSON."""

import json
import re
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlparse

from mmt_assets_tests.servers.compute_engine.agenda import Agenda
from mmt_assets_tests.servers.compute_engine.control import control
from mmt_assets_tests.servers.compute_engine.errors import ApiError
from mmt_assets_tests.servers.compute_engine.project import Project
from mmt_assets_tests.servers.compute_engine.routes import answer

_API = re.compile(r"/compute/v1/projects/([^/]+)/(.+)")
_CONTROL = re.compile(r"/control/([^/]+)/(\w+)")


class Cloud(ThreadingHTTPServer):
    """The server; projects are made by their first use.

    Attributes:
        marker: What all processes of all its machines carry.
    """

    daemon_threads = True
    # Many clients may connect at the same moment.
    request_queue_size = 128

    def __init__(self, port: int, folder: Path) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.lock = threading.RLock()
        self.marker = uuid.uuid4().hex
        self._folder = folder
        self._agenda = Agenda(self.lock)
        self._projects: dict[str, Project] = {}

    def project(self, name: str) -> Project:
        with self.lock:
            if name not in self._projects:
                address = f"http://127.0.0.1:{self.server_address[1]}"
                self._projects[name] = Project(name, address, self._folder, self.marker, self._agenda)
            return self._projects[name]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        """Everything is in the history."""

    def _handle(self) -> None:
        url = urlparse(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._answer(200, self._told(unquote(url.path), dict(parse_qsl(url.query)), raw))
        except ApiError as error:
            self._answer(error.code, error.body())
        except (KeyError, TypeError, ValueError) as error:
            # A test's own mistake, or a gap of this server: as visible as possible.
            self._answer(400, ApiError(400, f"{type(error).__name__}: {error}", "badRequest").body())

    def _told(self, path: str, query: dict[str, str], raw: bytes) -> Any:
        cloud = cast("Cloud", self.server)
        body = json.loads(raw) if raw else {}
        if match := _API.fullmatch(path):
            return answer(cloud.project(match[1]), self.command, match[2], query, body)
        if match := _CONTROL.fullmatch(path):
            with cloud.lock:
                return control(cloud.project(match[1]), match[2], body)
        if path == "/marker":
            return cloud.marker
        raise ApiError(404, f"There is nothing at {path}", "notFound")

    def _answer(self, code: int, body: Any) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    do_GET = do_POST = do_DELETE = _handle  # noqa: N815 - the base class calls them so
