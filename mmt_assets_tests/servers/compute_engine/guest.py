"""What runs inside a machine: its startup script and everything that it starts, as real processes."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

# Each process of a machine carries this, whatever it becomes: the server's name, the machine's id, the boot.
MARKER = "TEST_CLOUD_GUEST"
# What ends the operating system. In a machine these reach the server; the host's own are never run.
_POWER_COMMANDS = {"poweroff": "poweroff", "halt": "poweroff", "shutdown": "poweroff", "reboot": "reset"}
_FORBIDDEN_COMMANDS = ("apt-get", "systemctl")


def processes(marker: str) -> list[psutil.Process]:
    """Living processes whose marker begins with this."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER, "").startswith(marker) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def send_signal(marker: str, number: int, pattern: str = "") -> list[int]:
    """Signal those whose command line holds the pattern; returns their ids."""
    met = []
    for process in processes(marker):
        try:
            if pattern in " ".join(process.cmdline()):
                process.send_signal(number)
                met.append(process.pid)
        except psutil.Error:
            continue
    return met


def end_all(marker: str) -> None:
    """Kill until none is left: a process may start another while it is being killed."""
    while send_signal(marker, signal.SIGKILL):
        pass


class Disk:
    """A machine's folder: what stands on its disk, and its serial log.

    Attributes:
        folder: The folder.
        home: Where the startup script keeps code and environments.
        serial: What the serial port printed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "opt" / "mmt_assets"
        self.serial = folder / "serial.log"
        self._programs = folder / "bin"
        self._is_filled = False
        self.home.mkdir(parents=True)
        self._programs.mkdir()
        self.serial.touch()

    def fill(self, image: Mapping[str, str]) -> None:
        """Put on it what the image has, before the first boot."""
        if self._is_filled:
            return
        self._is_filled = True
        for name, kind in _POWER_COMMANDS.items():
            press = f"curl --silent --fail --show-error --request POST http://$GCE_METADATA_HOST/power/{kind}"
            self._put_program(name, f"exec {press}")
        for name in _FORBIDDEN_COMMANDS:
            self._put_program(name, f"echo {name} would change the machine that these tests run on >&2\nexit 1")
        (self._programs / "python3.11").symlink_to(Path(sys.executable).resolve())
        for path, source in image.items():
            (self.home / path).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "--archive", source, self.home / path], check=True)

    @property
    def path(self) -> str:
        """Where commands are looked for: the machine's own first."""
        return f"{self._programs}:{os.environ['PATH']}"

    def _put_program(self, name: str, text: str) -> None:
        program = self._programs / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)


class Guest:
    """One boot of a machine.

    Attributes:
        marker: What its processes carry.
    """

    def __init__(self, disk: Disk, marker: str, metadata_port: int, environment: Mapping[str, str]) -> None:
        self.marker = marker
        self._disk = disk
        host = f"127.0.0.1:{metadata_port}"
        # No HOME, no locale: a startup script has none either.
        self._environment = {
            "PATH": disk.path,
            "GCE_METADATA_HOST": host,
            "GCE_METADATA_IP": host,
            "ANALYSIS_SERVER_ROOT": str(disk.folder),
            MARKER: marker,
            **environment,
        }

    def run(self, script: str, on_end: Callable[[int], None]) -> int:
        """Start the script as the guest agent does; returns its process id."""
        self._log("Linux version 6.1.0 (Debian 12)")
        file = self._disk.folder / "startup-script"
        file.write_text(script)
        file.chmod(0o700)
        process = subprocess.Popen(
            [file],
            cwd="/",
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        threading.Thread(target=self._follow, args=(process, on_end), daemon=True).start()
        return process.pid

    def _follow(self, process: subprocess.Popen[bytes], on_end: Callable[[int], None]) -> None:
        reader = threading.Thread(target=self._copy_output, args=(process,), daemon=True)
        reader.start()
        # The script may end and leave children behind that hold its output.
        code = process.wait()
        reader.join(0.2)
        self._log(f"startup-script exit status {code}")
        on_end(code)

    def _copy_output(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._log(f"startup-script: {line.decode(errors='replace').rstrip()}")

    def _log(self, line: str) -> None:
        with self._disk.serial.open("a") as serial:
            serial.write(line + "\n")
