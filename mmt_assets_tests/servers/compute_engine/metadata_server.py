"""What a machine sees of the cloud: metadata.google.internal, one listener for each machine that is on."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlparse

if TYPE_CHECKING:
    from mmt_assets_tests.servers.compute_engine.instance import Instance

_ROOT = "/computeMetadata/v1/"
_POLL_SECONDS = 0.02


class MetadataServer:
    """The metadata server of one boot of one machine.

    Attributes:
        port: Where it listens on 127.0.0.1.
    """

    def __init__(self, instance: "Instance", power: Callable[[str], bool]) -> None:
        handler = type("Handler", (_Handler,), {"instance": instance, "power": staticmethod(power)})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        # Waits for the loop's end: never under the lock that a request may be waiting for.
        threading.Thread(target=self._close, daemon=True).start()

    def _close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    instance: "Instance"
    power: Callable[[str], bool]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        """Nothing on the server's own output."""

    def do_GET(self) -> None:
        url = urlparse(self.path)
        if self.headers.get("Metadata-Flavor") != "Google":
            return self._answer(403, "Missing Metadata-Flavor:Google header.")
        query = parse_qs(url.query)
        if "wait_for_change" in query:
            self._wait_for_change(url.path, float(query.get("timeout_sec", ["60"])[0]))
        value = self._value(url.path)
        if value is None:
            return self._answer(404, "not found")
        return self._answer(200, value if isinstance(value, str) else json.dumps(value), isinstance(value, dict))

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        path = urlparse(self.path).path.removeprefix(f"{_ROOT}instance/guest-attributes/")
        if self.headers.get("Metadata-Flavor") != "Google":
            return self._answer(403, "Missing Metadata-Flavor:Google header.")
        with self.instance.lock:
            if path.count("/") != 1 or not self.instance.has_guest_attributes:
                return self._answer(403, "Guest attributes are off, or the path is not NAMESPACE/KEY.")
            self.instance.put_guest_attribute(path, body)
        return self._answer(200, "")

    def do_POST(self) -> None:
        # Not of the metadata server: the machine's power button (see guest.py).
        done = type(self).power(self.path.removeprefix("/power/"))
        self._answer(200 if done else 500, "" if done else "the power button does not answer")

    def _wait_for_change(self, path: str, seconds: float) -> None:
        first, deadline = self._value(path), time.monotonic() + seconds
        while self._value(path) == first and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _value(self, path: str) -> str | dict[str, Any] | None:
        """A text, a tree for recursive requests, or None."""
        with self.instance.lock:
            found: Any = {**self.instance.seen_from_inside()}
        for part in path.removeprefix(_ROOT).strip("/").split("/"):
            if part:
                found = found.get(part) if isinstance(found, dict) else None
        return found

    def _answer(self, code: int, text: str, is_tree: bool = False) -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Type", "application/json" if is_tree else "application/text")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
