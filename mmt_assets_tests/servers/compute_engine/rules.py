"""The API's rules about names, labels, metadata and scheduling."""

import base64
import hashlib
import json
import re
from typing import Any
from uuid import UUID

from mmt_assets_tests.servers.compute_engine.errors import ApiError, invalid

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_METADATA_KEY = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_MAX_LABELS = 64
_MAX_VALUE_BYTES, _MAX_METADATA_BYTES = 262_144, 524_288
_MIN_RUN_SECONDS, _MAX_RUN_SECONDS = 30, 120 * 86_400


def fingerprint(content: object) -> str:
    """Fingerprint that changes with the content."""
    return base64.b64encode(hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()[:8]).decode()


def check_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid("resource.name", name, f"Must be a match of regex '(?:{_NAME.pattern})'")
    return name


def check_labels(labels: object) -> dict[str, str]:
    if not isinstance(labels, dict) or len(labels) > _MAX_LABELS:
        raise invalid("labels", labels, f"At most {_MAX_LABELS} labels")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise invalid("labels", key, "Label key violates the format constraints")
        if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
            raise invalid("labels", value, f"Label value '{value}' violates the format constraints")
    return dict(labels)


def check_metadata(items: list[dict[str, Any]]) -> dict[str, str]:
    metadata: dict[str, str] = {}
    for item in items:
        key, value = item.get("key"), item.get("value", "")
        if not isinstance(key, str) or not _METADATA_KEY.fullmatch(key) or key in metadata:
            raise invalid("metadata.items.key", key, "Keys are unique, of letters, digits, - and _")
        if not isinstance(value, str):
            raise invalid("metadata.items.value", value, "Values are strings")
        if len(value.encode()) > _MAX_VALUE_BYTES:
            raise invalid("metadata.items.value", key, f"Metadata value too large: at most {_MAX_VALUE_BYTES} bytes")
        metadata[key] = value
    if sum(len(key) + len(value.encode()) for key, value in metadata.items()) > _MAX_METADATA_BYTES:
        raise ApiError(400, f"Total metadata size exceeds {_MAX_METADATA_BYTES} bytes", "invalid")
    return metadata


def check_scheduling(given: dict[str, Any]) -> dict[str, Any]:
    """Scheduling with its defaults; what contradicts itself is refused."""
    is_spot = given.get("provisioningModel") == "SPOT" or given.get("preemptible") is True
    defaults = {
        "automaticRestart": not is_spot,
        "onHostMaintenance": "TERMINATE" if is_spot else "MIGRATE",
        "provisioningModel": "SPOT" if is_spot else "STANDARD",
        "preemptible": is_spot,
    }
    scheduling = {**defaults, **given}
    if is_spot and (scheduling["automaticRestart"] or scheduling["onHostMaintenance"] != "TERMINATE"):
        raise ApiError(400, "Scheduling: a Spot VM cannot restart automatically or migrate", "invalid")
    limit = scheduling.get("maxRunDuration")
    if limit is not None:
        seconds = int(limit.get("seconds", 0))
        if not _MIN_RUN_SECONDS <= seconds <= _MAX_RUN_SECONDS:
            raise invalid("scheduling.maxRunDuration", seconds, f"From {_MIN_RUN_SECONDS} s to 120 days")
        # int64 travels as text.
        scheduling["maxRunDuration"] = {"seconds": str(seconds)}
    action = scheduling.get("instanceTerminationAction")
    if action is not None and action not in ("STOP", "DELETE"):
        raise invalid("scheduling.instanceTerminationAction", action, "STOP or DELETE")
    if action is not None and not is_spot and limit is None:
        message = "You cannot specify a termination action for a standard VM instance without a limited run time"
        raise ApiError(400, message, "invalid")
    if limit is not None and action is None:
        raise ApiError(400, "A limited run time needs an instance termination action", "invalid")
    return scheduling


def check_request_id(text: str) -> str:
    try:
        number = UUID(text)
    except ValueError:
        raise invalid("requestId", text, "Must be a valid UUID") from None
    if number.int == 0:
        raise invalid("requestId", text, "The zero UUID is not supported")
    return str(number)
