"""Entry point: `python -m mmt_assets_tests.servers.compute_engine --port 9201`."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from mmt_assets_tests.servers.compute_engine import guest
from mmt_assets_tests.servers.compute_engine.http_server import Cloud


def main() -> None:
    """Serve until SIGTERM or Ctrl-C; machines that are still on are killed then."""
    parser = argparse.ArgumentParser(prog="python -m mmt_assets_tests.servers.compute_engine", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1; 0 for a free one")
    parser.add_argument("--folder", type=Path, help="folder of the machines' disks (default: a temporary one)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with (
        tempfile.TemporaryDirectory(prefix="compute-engine-", ignore_cleanup_errors=True) as temporary,
        Cloud(arguments.port, (arguments.folder or Path(temporary)).absolute()) as cloud,
    ):
        print(f"Compute Engine for tests at http://127.0.0.1:{cloud.server_address[1]}", flush=True)  # noqa: T201
        try:
            cloud.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            guest.end_all(cloud.marker)


if __name__ == "__main__":
    main()
