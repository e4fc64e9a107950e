"""Files that are replaced as a whole: a reader sees the old one or the new one, whoever is killed meanwhile."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Give a temporary file beside `path`, which takes its place at the end, or goes when something is raised.

    A process that is killed in between leaves it behind, hidden, with the suffix `.tmp`.

    Args:
        path: The file; its directory is there.
        mode: Its permissions.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
