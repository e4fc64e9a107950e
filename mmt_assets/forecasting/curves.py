"""Pooled booking curves: how demand spreads over a sale, learned from all concerts together.

Model: E[tickets of concert i on a day] = level_i x f(days since on-sale) x g(days to show) x w(weekday).
Fitted by iterative scaling (Deming & Stephan 1940) on the cells before a sell-out, concerts weighted by
1/sqrt(total) so that a few big ones do not decide the shape.
"""

from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmt_assets.forecasting.history import Origin, select
from mmt_assets.forecasting.inputs import Floats, Ints

Dimension = Literal["days_since_on_sale", "days_to_show", "weekday"]
Segmentation = Literal["none", "length_of_sale", "country", "currency", "venue"]

AGE_EDGES = np.array([0, 1, 2, 3, 4, 5, 7, 10, 14, 21, 30, 45, 60, 90])
DAYS_OUT_EDGES = np.array([0, 1, 2, 3, 4, 5, 7, 10, 14, 21, 30, 45, 60, 75, 90, 120, 180, 270])
LAST_BUCKET_END = 9999
POOLED = "all"

MIN_SEGMENT_CONCERTS = 60
SCALING_ROUNDS = 12
SMOOTHING = 0.5
# A segmentation must beat the pooled curve by this share of deviance on newer concerts to be used.
SEGMENT_GAIN = 0.01


@dataclass(frozen=True)
class BookingCurve:
    """One segment's curve: intensity per bucket of each dimension (weekday 0 is Monday)."""

    age: Floats
    days_out: Floats
    weekday: Floats
    concerts_count: int

    def on(self, sale_days: Ints, show: Ints, days_out: Ints) -> Floats:
        """Return relative intensities, shape (n, len(days_out)); 0 before the sale starts."""
        age = sale_days[:, None] - days_out[None, :]
        weekday = (show[:, None] - days_out[None, :] + 3) % 7  # 1970-01-01 was a Thursday
        # A table by age: looking every cell's bucket up would cost most of a forecast's time.
        by_age = self.age[_bucket(np.arange(int(age.max(initial=0)) + 1), AGE_EDGES)]
        value = (
            by_age[np.maximum(age, 0)]
            * self.days_out[_bucket(days_out, DAYS_OUT_EDGES)][None, :]
            * self.weekday[weekday]
        )
        return np.where(age >= 0, value, 0.0)


FLAT_CURVE = BookingCurve(np.ones(len(AGE_EDGES)), np.ones(len(DAYS_OUT_EDGES)), np.ones(7), 0)


@dataclass(frozen=True)
class CurveSet:
    """Curves of all segments; concerts of a segment without a curve use the pooled one."""

    segmentation: Segmentation
    length_bounds: Floats
    curves: dict[str, BookingCurve]

    def segment_of(self, origin: Origin) -> npt.NDArray[np.object_]:
        """Return the segment of each concert, shape (n,)."""
        labels = segment_labels(origin, self.segmentation, self.length_bounds)
        return np.array([label if label in self.curves else POOLED for label in labels], dtype=object)

    def shape(self, origin: Origin, days_out: Ints) -> Floats:
        """Return relative intensities of n concerts on these days to show, shape (n, len(days_out))."""
        segment = self.segment_of(origin)
        out = np.zeros((len(segment), len(days_out)))
        for name in sorted(set(segment)):
            rows = np.flatnonzero(segment == name)
            show = origin.history.concerts.show[rows]
            out[rows] = self.curves[name].on(origin.sale_days[rows], show, days_out)
        return out


def fit_curve(origin: Origin) -> BookingCurve:
    """Fit one pooled curve to the open cells of n concerts (n may be 0: then the curve is flat)."""
    cells = _Cells.of(origin)
    age, days_out = np.ones(len(AGE_EDGES)), np.ones(len(DAYS_OUT_EDGES))
    if cells.tickets.sum() <= 0:
        return BookingCurve(age, days_out, np.ones(7), len(cells.weight))
    total = np.bincount(cells.concert, cells.tickets, len(cells.weight))
    weight = cells.weight[cells.concert]
    observed = cells.tickets * weight
    level = np.ones(len(cells.weight))
    for _ in range(SCALING_ROUNDS):
        rate = age[cells.age] * days_out[cells.days_out] * cells.days
        level = (total + SMOOTHING) / (np.bincount(cells.concert, rate, len(level)) + 1e-9)
        age = _scaled(age, cells.age, observed, level[cells.concert] * rate * weight)
        rate = age[cells.age] * days_out[cells.days_out] * cells.days
        days_out = _scaled(days_out, cells.days_out, observed, level[cells.concert] * rate * weight)
    weekday = _weekday(origin, BookingCurve(age, days_out, np.ones(7), 0), level, cells.weight)
    return BookingCurve(age, days_out, weekday, int((total > 0).sum()))


def fit_curves(origin: Origin, finished: Ints) -> CurveSet:
    """Fit the pooled curve, and curves per segment where segments predict newer concerts better.

    Args:
        origin: The concerts to learn from, finished ones and those still on sale.
        finished: Rows of the finished ones: they choose the segmentation.
    """
    segmentation, bounds = choose_segmentation(origin, finished)
    return fit_segments(origin, segmentation, bounds)


def fit_segments(origin: Origin, segmentation: Segmentation, length_bounds: Floats) -> CurveSet:
    """Fit the curves of a given segmentation."""
    curves = {POOLED: fit_curve(origin)}
    if segmentation != "none":
        labels = segment_labels(origin, segmentation, length_bounds)
        for label in sorted(set(labels) - {POOLED}):
            rows = np.flatnonzero(labels == label)
            if len(rows) >= MIN_SEGMENT_CONCERTS:
                curves[label] = fit_curve(select(origin, rows))
    return CurveSet(segmentation, length_bounds, curves)


def choose_segmentation(origin: Origin, finished: Ints) -> tuple[Segmentation, Floats]:
    """Return the segmentation with the lowest deviance on the newest quarter of the finished concerts."""
    bounds = np.quantile(origin.sale_days[finished], [1 / 3, 2 / 3]) if len(finished) else np.zeros(2)
    if len(finished) < 4 * MIN_SEGMENT_CONCERTS:
        return "none", bounds
    cut = len(finished) * 3 // 4
    old, new = select(origin, finished[:cut]), select(origin, finished[cut:])
    best: Segmentation = "none"
    lowest = (1 - SEGMENT_GAIN) * _deviance(fit_segments(old, "none", bounds), new)
    for segmentation in get_args(Segmentation)[1:]:
        if len(set(segment_labels(old, segmentation, bounds))) > 1:
            deviance = _deviance(fit_segments(old, segmentation, bounds), new)
            if deviance < lowest:
                best, lowest = segmentation, deviance
    return best, bounds


def segment_labels(origin: Origin, segmentation: Segmentation, length_bounds: Floats) -> npt.NDArray[np.object_]:
    """Return a text label per concert, such as "country=KR" or "length_of_sale=2"."""
    count = len(origin.days_to_show)
    if segmentation == "none":
        return np.full(count, POOLED, dtype=object)
    if segmentation == "length_of_sale":
        values = np.searchsorted(length_bounds, origin.sale_days) + 1
    else:
        values = origin.history.concerts.groups[segmentation]
    return np.array([f"{segmentation}={v}" if v != "" else POOLED for v in values], dtype=object)


def curves_frame(curves: CurveSet) -> pd.DataFrame:
    """Return the curves as rows: segment, dimension, bucket_start, bucket_end, intensity, concerts_count."""
    rows = []
    for segment, curve in sorted(curves.curves.items()):
        tables: list[tuple[Dimension, Floats, Ints, Ints]] = [
            ("days_since_on_sale", curve.age, AGE_EDGES, _ends(AGE_EDGES)),
            ("days_to_show", curve.days_out, DAYS_OUT_EDGES, _ends(DAYS_OUT_EDGES)),
            ("weekday", curve.weekday, np.arange(7), np.arange(7)),
        ]
        for dimension, intensity, starts, ends in tables:
            # Each dimension is shown relative to its own mean: only ratios within one mean something.
            scaled = intensity / intensity.mean()
            rows += [
                (segment, dimension, int(start), int(end), float(value), curve.concerts_count)
                for start, end, value in zip(starts, ends, scaled, strict=True)
            ]
    columns = ["segment", "dimension", "bucket_start", "bucket_end", "intensity", "concerts_count"]
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True)
class _Cells:
    """Open days of all concerts, summed per concert x age bucket x days-to-show bucket."""

    concert: Ints
    age: Ints
    days_out: Ints
    tickets: Floats
    days: Floats
    weight: Floats

    @classmethod
    def of(cls, origin: Origin) -> Self:
        concert, column = np.nonzero(origin.open)
        count, out_count = len(origin.days_to_show), len(DAYS_OUT_EDGES)
        age = _bucket(origin.sale_days[concert] - column, AGE_EDGES)
        code = (concert * len(AGE_EDGES) + age) * out_count + _bucket(column, DAYS_OUT_EDGES)
        size = count * len(AGE_EDGES) * out_count
        tickets = np.bincount(code, np.maximum(origin.history.sold[concert, column], 0.0), size)
        days = np.bincount(code, minlength=size)
        used = np.flatnonzero(days)
        who = used // (len(AGE_EDGES) * out_count)
        total = np.bincount(who, tickets[used], count)
        return cls(
            concert=who,
            age=used // out_count % len(AGE_EDGES),
            days_out=used % out_count,
            tickets=tickets[used].astype(np.float64),
            days=days[used].astype(np.float64),
            weight=1 / np.sqrt(np.maximum(total, 5.0)),
        )


def _scaled(factor: Floats, bucket: Ints, observed: Floats, expected: Floats) -> Floats:
    """Scale the factor of each bucket so that expected sums meet observed ones; unseen buckets stay."""
    seen = np.bincount(bucket, observed, len(factor))
    model = np.bincount(bucket, expected, len(factor))
    return factor * (seen + SMOOTHING) / (model + SMOOTHING)


def _weekday(origin: Origin, curve: BookingCurve, level: Floats, weight: Floats) -> Floats:
    days_out = origin.history.days_out
    show = origin.history.concerts.show
    expected = curve.on(origin.sale_days, show, days_out) * (level * weight)[:, None] * origin.open
    observed = np.maximum(origin.history.sold, 0.0) * weight[:, None] * origin.open
    weekday = (show[:, None] - days_out[None, :] + 3) % 7
    return _scaled(np.ones(7), weekday.ravel(), observed.ravel(), expected.ravel())


def _deviance(curves: CurveSet, origin: Origin) -> float:
    """Poisson deviance of the shapes alone: every concert's level is set to its own total."""
    shape = curves.shape(origin, origin.history.days_out) * origin.open
    sold = np.maximum(origin.history.sold, 0.0) * origin.open
    total = sold.sum(axis=1)
    expected = shape * (total / np.maximum(shape.sum(axis=1), 1e-9))[:, None] + 1e-6
    loss = expected - sold + sold * np.log(np.maximum(sold, 1e-6) / expected)
    return float((loss.sum(axis=1) / np.sqrt(np.maximum(total, 5.0))).sum())


def _bucket(values: Ints, edges: Ints) -> Ints:
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 1)


def _ends(edges: Ints) -> Ints:
    return np.append(edges[1:] - 1, LAST_BUCKET_END)
