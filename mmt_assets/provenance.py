"""Which code and which environment made a row."""

import hashlib
import subprocess
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parent.parent
UNKNOWN = "unknown"


@cache
def source_commit() -> str:
    """Commit of the checkout that this code runs from, with `-dirty` when files differ; 'unknown' outside of one."""
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603 - fixed command
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return done.stdout.strip()


@cache
def lock_hash() -> str:
    """SHA-256 of the lock file that the environment was built from; 'unknown' where there is none."""
    lock = _ROOT / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else UNKNOWN
