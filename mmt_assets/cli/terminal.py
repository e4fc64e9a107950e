"""What a run shows on the terminal: which step, how far, and what went wrong."""

import logging
import time
from typing import Any, NoReturn

import dagster as dg
import typer
from rich.console import Console
from rich.markup import escape

from mmt_assets.settings import Settings, SettingsError

# Without a terminal (a pipe, a log) nothing says how wide it is, and eighty columns would cut every name.
_PIPE_WIDTH = 120
console = Console() if Console().is_terminal else Console(width=_PIPE_WIDTH)
TERMINAL_LOGGER = "terminal"


def fail(message: str) -> NoReturn:
    """Print an error and end the command with exit code 1."""
    console.print(f"[red]error:[/red] {escape(message)}", highlight=False)
    raise typer.Exit(1)


def read_settings() -> Settings:
    """Settings of the environment; a wrong one ends the command."""
    try:
        return Settings.from_env()
    except SettingsError as error:
        fail(str(error))


class TerminalHandler(logging.Handler):
    """Prints step starts, ends and messages of a run."""

    def __init__(self) -> None:
        # Dagster logs its events as debug messages.
        super().__init__(logging.DEBUG)
        self._started: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Print what is of interest in one record of a run's log."""
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        event: dg.DagsterEvent | None = meta.get("dagster_event")
        if event is None and record.levelno >= logging.INFO:
            console.print(f"    {escape(str(meta.get('orig_message', record.getMessage())))}", highlight=False)
        elif event is None:
            return
        elif event.event_type == dg.DagsterEventType.STEP_START:
            self._started[str(event.step_key)] = time.monotonic()
            console.print(f"  [bold]{escape(str(event.step_key))}[/bold] started", highlight=False)
        elif event.event_type == dg.DagsterEventType.STEP_SUCCESS:
            seconds = time.monotonic() - self._started.pop(str(event.step_key), time.monotonic())
            console.print(f"  [green]done[/green] {escape(str(event.step_key))} in {seconds:.1f} s", highlight=False)
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            self._print_failed_check(event.asset_check_evaluation_data)

    def _print_failed_check(self, evaluation: dg.AssetCheckEvaluation) -> None:
        if evaluation.passed:
            return
        colour = "red" if evaluation.severity == dg.AssetCheckSeverity.ERROR else "yellow"
        values = {key: value.value for key, value in evaluation.metadata.items()}
        told = f"{evaluation.check_name}: {evaluation.description or values}"
        console.print(f"    [{colour}]{evaluation.severity.value.lower()}[/{colour}] {escape(told)}", highlight=False)


def _build_logger(_: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.getLogger(f"{__name__}.{TERMINAL_LOGGER}")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.handlers = [TerminalHandler()]
    return logger


terminal_logger = dg.LoggerDefinition(_build_logger, description="Progress of a run on the terminal.")
