"""Dataproc for tests: the part of its REST API that a job's client calls; a job is a process of this machine.

`python -m mmt_assets_tests.servers.dataproc PORT MODULE`: a submitted job runs `python -m MODULE` with its arguments,
in place of its main file.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_JOBS = re.compile(r"/v1/projects/([^/]+)/regions/([^/]+)/jobs(?::(submit)|/([^/:]+)(?::(cancel))?)")


class Jobs:
    """Jobs and their processes.

    Attributes:
        module: What a job runs.
        jobs: The jobs, as the API tells of them, by id.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self.jobs: dict[str, dict[str, Any]] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def submit(self, project: str, job: dict[str, Any]) -> dict[str, Any]:
        """Start a job; without an id of the caller's, its id is its uuid."""
        name = str(uuid.uuid4())
        arguments = job["pysparkJob"].get("args", [])
        self._processes[name] = subprocess.Popen(
            [sys.executable, "-m", self.module, *arguments], start_new_session=True
        )
        self.jobs[name] = job | {
            "reference": {"projectId": project, "jobId": name},
            "jobUuid": name,
            "status": {"state": "RUNNING"},
            "done": False,
        }
        return self.jobs[name]

    def look(self, name: str) -> dict[str, Any] | None:
        """A job as it is now, or None."""
        job = self.jobs.get(name)
        if job and not job["done"] and (code := self._processes[name].poll()) is not None:
            failed = {"state": "ERROR", "details": f"Job failed with message [exit code {code}]"}
            job |= {"done": True, "status": failed if code else {"state": "DONE"}}
        return job

    def cancel(self, name: str) -> dict[str, Any] | None:
        """End a job."""
        job = self.look(name)
        if job and not job["done"]:
            os.killpg(self._processes[name].pid, signal.SIGKILL)
            self._processes[name].wait()
            job |= {"done": True, "status": {"state": "CANCELLED"}}
        return job


def _handler(jobs: Jobs) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            found = _JOBS.fullmatch(urlsplit(self.path).path)
            with lock:
                told = self._job(found, body) if found else None
            self.send_response(200 if told else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            missing = {"error": {"code": 404, "status": "NOT_FOUND", "message": f"Not found: {self.path}"}}
            self.wfile.write(json.dumps(told or missing).encode())

        def _job(self, found: re.Match[str], body: dict[str, Any]) -> dict[str, Any] | None:
            project, _, submit, name, cancel = found.groups()
            if submit:
                return jobs.submit(project, body["job"])
            return jobs.cancel(name) if cancel else jobs.look(name)

        do_GET = do_POST = _answer  # noqa: N815 - the names that http.server calls

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of http.server
            """Say nothing."""

    return Handler


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _handler(Jobs(sys.argv[2]))).serve_forever()
