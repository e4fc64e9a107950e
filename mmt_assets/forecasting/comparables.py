"""Named comparables: finished concerts that were most alike before their first sale."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmt_assets.forecasting.history import History, Origin
from mmt_assets.forecasting.inputs import Floats

COMPARABLES = 3
CANDIDATES = 600
SAME = {"artist": 1.5, "venue": 0.7, "city": 0.5, "country": 0.5}
LEVEL_BOUNDS = (0.2, 5.0)
# Concerts further apart than this (about a factor 12 in level) are not comparable.
MAX_DISTANCE = 3.5


@dataclass(frozen=True)
class Pace:
    """What comparables had sold at the same days to show.

    Attributes:
        expected: Mean net tickets of the comparables, each scaled by this concert's expected final total over
            its own, shape (n,); NaN without any.
        names: Their ids, comma-separated; "" without any.
    """

    expected: Floats
    names: npt.NDArray[np.object_]

    def ahead(self, net: Floats) -> tuple[Floats, Floats]:
        """Return tickets ahead (+) or behind (-) of the comparables, and the same in percent.

        The percentage is NaN where the comparables had sold less than one ticket.
        """
        tickets = net - self.expected
        enough = self.expected >= 1
        return tickets, np.where(enough, 100 * tickets / np.where(enough, self.expected, 1.0), np.nan)


def pace(targets: Origin, log_expected: Floats, pool: History, pool_log_expected: Floats) -> Pace:
    """Compare n concerts with the newest finished ones.

    Args:
        targets: The concerts.
        log_expected: Log of the final total expected before any sale, shape (n,).
        pool: Finished concerts.
        pool_log_expected: The same for the pool, shape (pool,).
    """
    count = len(targets.days_to_show)
    tickets_then, names = np.full(count, np.nan), np.full(count, "", dtype=object)
    start = max(len(pool.start) - CANDIDATES, 0)
    rows = np.arange(start, len(pool.start))
    some, expected = pool.take(rows), pool_log_expected[rows]
    if not len(rows):
        return Pace(tickets_then, names)
    net = (some.sold_before - some.refunded_before)[:, None] + np.cumsum((some.sold - some.refunded)[:, ::-1], axis=1)[
        :, ::-1
    ]
    sale_days = some.concerts.show - some.start
    for i in range(count):
        distance = np.abs(expected - log_expected[i])
        distance += np.abs(np.log1p(sale_days) - np.log1p(max(int(targets.sale_days[i]), 0)))
        for name, gain in SAME.items():
            label = targets.history.concerts.groups[name][i]
            distance -= gain * ((some.concerts.groups[name] == label) & (label != ""))
        distance[sale_days < targets.days_to_show[i]] = np.inf
        nearest = np.argsort(distance, kind="stable")[:COMPARABLES]
        nearest = nearest[distance[nearest] < MAX_DISTANCE]
        if len(nearest):
            column = min(int(targets.days_to_show[i]), net.shape[1] - 1)
            scale = np.clip(np.exp(log_expected[i] - expected[nearest]), *LEVEL_BOUNDS)
            tickets_then[i] = float((np.maximum(net[nearest, column], 0) * scale).mean())
            names[i] = ", ".join(str(concert) for concert in some.concerts.ids[nearest])
    return Pace(tickets_then, names)


def finished_part(history: History, as_of: int) -> History:
    """Return the concerts that ended before a day."""
    return history.take(np.flatnonzero((history.concerts.show < as_of) & (history.start >= 0)))
