"""How concerts stood so many days before their show: what pick-up models learn from."""

from dataclasses import dataclass

import numpy as np

from mmt_assets.forecasting.history import History
from mmt_assets.forecasting.inputs import Floats, Ints


@dataclass(frozen=True)
class BookingState:
    """n concerts, each so many days before its show: gross and net tickets, gross tickets of the last days."""

    gross: Floats
    net: Floats
    last_three: Floats
    last_week: Floats
    last_four_weeks: Floats


@dataclass(frozen=True)
class RunningTotals:
    """Gross and refunded tickets until the end of each day, shape (n, window + 1), columns by days to show."""

    gross: Floats
    refunded: Floats

    @classmethod
    def of(cls, history: History) -> "RunningTotals":
        """Sum the history up, once for all days to show."""
        gross = history.sold_before[:, None] + np.cumsum(history.sold[:, ::-1], axis=1)[:, ::-1]
        refunded = history.refunded_before[:, None] + np.cumsum(history.refunded[:, ::-1], axis=1)[:, ::-1]
        return cls(gross, refunded)

    def state(self, rows: Ints, days_to_show: Ints) -> BookingState:
        """Return the state of these rows, each so many days before its show."""
        now = self.at(self.gross, rows, days_to_show)
        net = np.maximum(now - self.at(self.refunded, rows, days_to_show), 0.0)
        before = (self.at(self.gross, rows, days_to_show + days) for days in (3, 7, 28))
        return BookingState(now, net, *(now - earlier for earlier in before))

    @staticmethod
    def at(totals: Floats, rows: Ints, days_to_show: Ints) -> Floats:
        """Return the totals of these rows, each so many days before its show."""
        return totals[rows, np.minimum(days_to_show, totals.shape[1] - 1)]
