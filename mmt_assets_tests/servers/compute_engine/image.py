"""What stands on a new machine's disk, and where it gets its source code from: this checkout, as it is now."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
_AUTHOR = {
    "GIT_AUTHOR_NAME": "tests",
    "GIT_AUTHOR_EMAIL": "tests@localhost",
    "GIT_COMMITTER_NAME": "tests",
    "GIT_COMMITTER_EMAIL": "tests@localhost",
}


def git(*arguments: str) -> str:
    """Run git; returns what it printed."""
    # Not the repository of a hook or a rebase that this may run in.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *arguments], env={**kept, **_AUTHOR}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


@dataclass(frozen=True)
class Repository:
    """A repository that machines fetch from.

    Attributes:
        url: Its folder.
    """

    url: str

    def commit(self, work_tree: Path) -> str:
        """Commit a folder as it is, whatever its own repository says; returns the SHA."""
        of_folder = (f"--git-dir={self.url}", f"--work-tree={work_tree}")
        git(*of_folder, "-C", str(work_tree), "add", "--all", ".")
        tree = git(*of_folder, "write-tree")
        sha = git(*of_folder, "commit-tree", tree, "-m", "A snapshot")
        git(*of_folder, "update-ref", f"refs/heads/snapshot-{sha}", sha)
        return sha


def new_repository(folder: Path) -> Repository:
    """An empty repository."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    git("init", "--quiet", "--bare", str(folder))
    return Repository(str(folder))


@dataclass(frozen=True)
class Image:
    """A prebuilt image, as a machine of this project may boot from.

    It holds the environment of the lock that the commit has, so that nothing is installed, and a checkout with the
    solver's kernels compiled.

    Attributes:
        git_url: Repository.
        git_ref: Commit: this checkout with what is not committed yet.
        files: What stands on the disk, by path below the startup script's home.
    """

    git_url: str
    git_ref: str
    files: dict[str, str]


def build_image(folder: Path) -> Image:
    """Make the image of this checkout and this environment."""
    repository = new_repository(folder / "repository.git")
    sha = repository.commit(ROOT)
    code = folder / "code"
    git("clone", "--quiet", "--no-checkout", repository.url, str(code))
    git("-C", str(code), "checkout", "--quiet", "--detach", sha)
    _keep_compiled_kernels(code)
    lock = hashlib.sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()
    environment = folder / "environment"
    environment.symlink_to(sys.prefix)
    # The stamp that a finished installation leaves.
    return Image(repository.url, sha, {"code": str(code), f"environments/{lock}": str(environment)})


def _keep_compiled_kernels(code: Path) -> None:
    """Numba takes a compiled kernel for one of the same source by its time and size."""
    for source in (ROOT / "mmt_assets").rglob("*.py"):
        copied = code / source.relative_to(ROOT)
        times = source.stat()
        os.utime(copied, ns=(times.st_atime_ns, times.st_mtime_ns))
    for cache in (ROOT / "mmt_assets").rglob("__pycache__/*.nb[ic]"):
        target = code / cache.relative_to(ROOT)
        target.parent.mkdir(exist_ok=True)
        shutil.copy2(cache, target)
