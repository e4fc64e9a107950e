"""Structured logs: one JSON line for each record, with the run's id, for whatever collects files of lines.

Dagster's own records come through `python_logs` in the instance's configuration (`infra/host/dagster.yaml`); those of
this package through the handler that `log_as_json_lines` gives it. Both write to one file. A record may carry `event`,
a word that metrics count, and other fields, as `extra` of the standard library's loggers.
"""

import json
import logging
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

from mmt_assets.settings import dagster_home

PACKAGE_LOGGER = "mmt_assets"
FILE = Path("logs") / "mmt_assets.jsonl"
_FIELDS = ("event", "run_id", "machine", "zone", "as_of_date", "reason")


class JsonLines(logging.Formatter):
    """A record as JSON: time (UTC), severity, message, logger; run_id, job and step where there is a run."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; what cannot be written as JSON is written as text."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "severity": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        # Dagster hangs what it knows of the run on each record.
        of_run = getattr(record, "dagster_meta", None) or {}
        known = {"run_id": of_run.get("run_id"), "job": of_run.get("job_name"), "step": of_run.get("step_key")}
        line |= {name: value for name, value in known.items() if value}
        line |= {name: str(value) for name in _FIELDS if (value := getattr(record, name, None)) is not None}
        if of_run.get("orig_message"):
            line["message"] = of_run["orig_message"]
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class JsonLinesFile(WatchedFileHandler):
    """Appends lines to `logs/mmt_assets.jsonl` in DAGSTER_HOME; a rotated file is opened anew."""

    def __init__(self) -> None:
        self._path = dagster_home() / FILE
        # Opened by the first record: nothing is touched when code is only loaded.
        super().__init__(self._path, delay=True, encoding="utf-8")
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        super().emit(record)


def log_as_json_lines() -> None:
    """Have this package's own loggers write to the file, once in each process."""
    logger = logging.getLogger(PACKAGE_LOGGER)
    if not any(isinstance(handler, JsonLinesFile) for handler in logger.handlers):
        logger.addHandler(JsonLinesFile())
        logger.setLevel(logging.INFO)
