"""Looks up every locked package in the advisories of PyPI; fails on a known vulnerability.

Without an answer from the advisory service a package is not audited. That is said and does not fail, so that `make
check` works offline; `--require-answers` makes it fail too.
"""

import argparse
import json
import subprocess
import sys

_SHOWN = 3


def _look_up(lock: str) -> list[dict]:
    command = [sys.executable, "-m", "pip_audit", "-r", lock, "--no-deps", "--disable-pip", "-f", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed command
    try:
        return json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        sys.stderr.write(done.stderr)
        return []


def main() -> int:
    """Audit the locks named on the command line; returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("locks", nargs="+")
    parser.add_argument("--require-answers", action="store_true", help="fail when a package could not be looked up")
    given = parser.parse_args()
    failed = False
    for lock in given.locks:
        packages = _look_up(lock)
        audited = [package for package in packages if "skip_reason" not in package]
        vulnerable = [package for package in audited if package["vulns"]]
        for package in vulnerable:
            for found in package["vulns"]:
                fixed = ", ".join(found["fix_versions"]) or "no version yet"
                print(f"{lock}: {package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
        silent = [package["name"] for package in packages if "skip_reason" in package]
        print(f"{lock}: {len(audited)} packages audited, {len(vulnerable)} vulnerable")
        if silent or not packages:
            shown = ", ".join(silent[:_SHOWN]) or "the service was not reached"
            print(f"{lock}: NOT AUDITED, the advisory service gave no answer: {len(silent)} packages ({shown}, ...)")
        failed |= bool(vulnerable) or (given.require_answers and bool(silent or not packages))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
