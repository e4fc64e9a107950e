"""Refunds as a process of their own: the share of outstanding tickets returned per day, by days to show."""

from dataclasses import dataclass

import numpy as np

from mmt_assets.forecasting.curves import DAYS_OUT_EDGES
from mmt_assets.forecasting.history import Origin
from mmt_assets.forecasting.inputs import Floats, Ints

# Outstanding ticket-days of prior evidence that a bucket has the overall rate.
RATE_STRENGTH = 200.0
NEWEST_CONCERTS = 400
OWN_STRENGTH = 8.0
OWN_BOUNDS = (0.25, 4.0)
MAX_DAILY_RATE = 0.5


@dataclass(frozen=True)
class RefundRates:
    """Daily refund rate per days-to-show bucket."""

    rate: Floats

    def on(self, days_out: Ints) -> Floats:
        """Return the rate on these days to show."""
        return self.rate[np.searchsorted(DAYS_OUT_EDGES, days_out, side="right") - 1]


def fit_refunds(origin: Origin) -> RefundRates:
    """Learn refund rates from the known cells of the newest concerts."""
    newest = slice(max(len(origin.days_to_show) - NEWEST_CONCERTS, 0), None)
    known = origin.known[newest]
    refunded = np.maximum(origin.history.refunded[newest], 0.0) * known
    outstanding = outstanding_tickets(origin)[newest] * known
    bucket = np.searchsorted(DAYS_OUT_EDGES, origin.history.days_out, side="right") - 1
    returns = np.bincount(bucket, refunded.sum(axis=0), len(DAYS_OUT_EDGES))
    exposure = np.bincount(bucket, outstanding.sum(axis=0), len(DAYS_OUT_EDGES))
    overall = returns.sum() / max(exposure.sum(), 1.0)
    rate = (returns + overall * RATE_STRENGTH) / (exposure + RATE_STRENGTH)
    return RefundRates(np.clip(rate, 0.0, MAX_DAILY_RATE))


def outstanding_tickets(origin: Origin) -> Floats:
    """Return the net tickets at the end of the day before each cell, shape (n, window + 1)."""
    history = origin.history
    visible = history.days_out[None, :] >= origin.days_to_show[:, None]
    net = (history.sold - history.refunded) * visible
    before = history.sold_before - history.refunded_before
    at_end = before[:, None] + np.cumsum(net[:, ::-1], axis=1)[:, ::-1]
    return np.maximum(at_end - net, 0.0)


def own_rate_factor(rates: RefundRates, origin: Origin) -> Floats:
    """Return how much more than usual each concert was refunded so far, shrunk to 1, shape (n,)."""
    expected = outstanding_tickets(origin) * origin.known @ rates.on(origin.history.days_out)
    seen = (np.maximum(origin.history.refunded, 0.0) * origin.known).sum(axis=1)
    return np.clip((seen + OWN_STRENGTH) / (expected + OWN_STRENGTH), *OWN_BOUNDS)


def survival(rates: RefundRates, factor: Floats, days_to_show: Ints, horizon: int) -> Floats:
    """Return the share of tickets held at the origin that is kept to the end of each later day.

    Returns:
        Shape (n, horizon): column b is the share kept to the end of the day b days before the show; 1 for
        columns at or beyond the origin.
    """
    days_out = np.arange(horizon)
    rate = np.minimum(factor[:, None] * rates.on(days_out)[None, :], MAX_DAILY_RATE)
    rate = np.where(days_out[None, :] < days_to_show[:, None], rate, 0.0)
    kept: Floats = np.cumprod((1.0 - rate)[:, ::-1], axis=1)[:, ::-1].astype(np.float64)
    return kept


def net_path(net_now: Floats, gross_path: Floats, kept: Floats) -> Floats:
    """Return net tickets at the end of each later day, shape (n, horizon), columns by days to show.

    A ticket sold on a day is first at risk on the next.
    """
    bought = np.cumsum((gross_path / kept)[:, ::-1], axis=1)[:, ::-1]
    return np.maximum(kept * (net_now[:, None] + bought), 0.0)
