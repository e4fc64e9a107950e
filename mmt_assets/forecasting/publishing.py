"""The chunks of a forecast, made in this process, in several of this machine, or elsewhere."""

import multiprocessing
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mmt_assets.forecasting.chunks import Published, Task, forecast_chunk
from mmt_assets.forecasting.inputs import Ints, Sales

CONCERTS_PER_CHUNK = 100
CHUNKS_FOR_PROCESSES = 30
"""Chunks from which on several processes pay for their start."""

Spread = Callable[[Task, Sequence[Ints]], Iterable[Published]]
"""Makes the chunks of a task somewhere, and gives them back in order."""


def publish(
    task: Task, targets: Ints, progress: Callable[[int, int], None] | None = None, spread: Spread | None = None
) -> list[Published]:
    """Forecast the concerts at these rows, chunk by chunk.

    Args:
        task: What is known.
        targets: Rows of `task.concerts`, ascending.
        progress: Called with (concerts done, concerts in all).
        spread: Where the chunks are made; by default in this process, or in several of this machine.
    """
    chunks = [targets[start : start + CONCERTS_PER_CHUNK] for start in range(0, len(targets), CONCERTS_PER_CHUNK)]
    made: list[Published] = []
    done = 0
    for chunk, part in zip(chunks, (spread or _made)(task, chunks), strict=True):
        made.append(part)
        done += len(chunk)
        if progress is not None:
            progress(done, len(targets))
    return made


def _made(task: Task, chunks: Sequence[Ints]) -> Iterator[Published]:
    if task.options.processes == 1 or len(chunks) < CHUNKS_FOR_PROCESSES or task.options.engine == "stan":
        for chunk in chunks:
            yield forecast_chunk(task, chunk)
        return
    # "spawn": forking a process that holds OpenMP threads (numba, BLAS) kills the child.
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as folder:
        # By a file: down a pipe, one child after the other would be started only when the last one had read it all.
        kept = Path(folder) / "task"
        with kept.open("wb") as file:
            pickle.dump(task, file, pickle.HIGHEST_PROTOCOL)
        with ProcessPoolExecutor(task.options.processes, context, _remember, (kept,)) as pool:
            yield from pool.map(_forecast_remembered, chunks)


_task: list[Task] = []


def _remember(kept: Path) -> None:
    """Keep the task in a child process: it is read once, not sent with every chunk."""
    with kept.open("rb") as file:
        _task[:] = [pickle.load(file)]  # noqa: S301 - our own parent wrote it a moment ago


def _forecast_remembered(chunk: Ints) -> Published:
    return forecast_chunk(_task[0], chunk)


def part_of(task: Task, rows: Ints) -> Task:
    """Return the task with nothing but the concerts at these ascending rows: enough to forecast them elsewhere."""
    first, last = np.searchsorted(task.sales.row, [rows.min(), rows.max() + 1])
    place = np.searchsorted(rows, task.sales.row[first:last])
    mine = np.flatnonzero(rows[np.minimum(place, len(rows) - 1)] == task.sales.row[first:last])
    taken = first + mine
    sales = Sales(place[mine], task.sales.day[taken], task.sales.sold[taken], task.sales.refunded[taken])
    return replace(task, concerts=task.concerts.take(rows), sales=sales)


def forecast_part(part: Task, rows: Ints) -> Published:
    """Forecast all concerts of a part; the result names them by their rows in the whole task."""
    made = forecast_chunk(part, np.arange(len(rows)))
    return replace(made, ticket_sales=made.ticket_sales.assign(concert=rows[made.ticket_sales["concert"]]))
