"""Chunks of concerts on Spark's executors, by the same library as on one machine.

What was learned from the pool is broadcast once. Each row of the Spark frame is one chunk: its concerts and their
sales, pickled, and what comes back are the same frames that this machine would have made. So results are equal,
whatever the number of executors. The driver holds the inputs and the results.
"""

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import pandas as pd

from mmt_assets.forecasting.chunks import Published, Task
from mmt_assets.forecasting.inputs import Ints, Sales
from mmt_assets.forecasting.publishing import Spread, forecast_part, part_of

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import SparkSession

_SCHEMA = "number long, content binary"
# A few for each core, so that a slow one does not hold up the rest.
_TASKS_PER_CORE = 4


def spread_on_spark(session: "SparkSession") -> Spread:
    """Make chunks on the executors of this session with `mapInPandas`.

    Args:
        session: An open Spark session.
    """

    def spread(task: Task, chunks: Sequence[Ints]) -> Iterator[Published]:
        if not chunks:
            return
        context = session.sparkContext
        shared = context.broadcast(pickle.dumps(_without_concerts(task)))
        name = uuid4().hex

        def make(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
            common = _remembered(name, shared)
            for batch in batches:
                yield batch.assign(content=[_make_one(common, content) for content in batch["content"]])

        contents = ((number, _content(task, chunk)) for number, chunk in enumerate(chunks))
        tasks = min(len(chunks), _TASKS_PER_CORE * context.defaultParallelism)
        # Cut into tasks here, in order: a frame from pandas would travel in its plan, whole, with every task.
        rows = context.parallelize(contents, numSlices=tasks)
        made = session.createDataFrame(rows, schema=_SCHEMA, verifySchema=False).mapInPandas(make, _SCHEMA)
        # One partition at a time: the driver never holds the pickled and the unpickled rows of all.
        for row in made.toLocalIterator(prefetchPartitions=True):
            yield pickle.loads(row["content"])  # noqa: S301 - written by an executor of this very job
        shared.destroy()

    return spread


_common: dict[str, Task] = {}


def _remembered(name: str, shared: "Broadcast[bytes]") -> Task:
    """Unpickle what was learned once for each Python process of an executor: it makes many of a job's tasks."""
    if name not in _common:
        _common.clear()
        _common[name] = pickle.loads(shared.value)  # noqa: S301 - written by the driver of this very job
    return _common[name]


def _without_concerts(task: Task) -> Task:
    sales = task.sales
    return replace(
        task,
        concerts=task.concerts.take(np.empty(0, np.int64)),
        sales=Sales(sales.row[:0], sales.day[:0], sales.sold[:0], sales.refunded[:0]),
    )


def _content(task: Task, chunk: Ints) -> bytes:
    part = part_of(task, chunk)
    return pickle.dumps((chunk, part.concerts, part.sales))


def _make_one(common: Task, content: bytes) -> bytes:
    rows, concerts, sales = pickle.loads(content)  # noqa: S301 - written by the driver of this very job
    return pickle.dumps(forecast_part(replace(common, concerts=concerts, sales=sales), rows))
