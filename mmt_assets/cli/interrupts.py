"""Ctrl-C and SIGTERM during a command: what they mean, said in one line."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from mmt_assets.cli.terminal import console

_INTERRUPTED = 128 + signal.SIGINT


@contextmanager
def told_when_stopped() -> Iterator[None]:
    """End the command with a line instead of a traceback, and with exit code 130, when somebody stops it."""

    def stop(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    # Dagster gives SIGTERM the meaning of SIGINT as soon as a run begins; before that it would just be the end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        yield
    except KeyboardInterrupt:
        console.print(
            "[yellow]stopped:[/yellow] what was finished stays, nothing is half-written; "
            "the same command goes on from there"
        )
        raise typer.Exit(_INTERRUPTED) from None
