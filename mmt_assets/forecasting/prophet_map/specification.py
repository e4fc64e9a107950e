"""What to fit: the model specification and the batch of series, both plain values."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Growth = Literal["flat", "linear", "logistic"]
Mode = Literal["additive", "multiplicative"]

# pandas' nanosecond timestamps, which stock Prophet needs, reach this many days from 1970-01-01.
DAY_LIMIT = 106_751
# Squares of numbers within these bounds neither overflow nor vanish.
MAGNITUDE_LIMIT = 1e60


@dataclass(frozen=True)
class Seasonality:
    """A Fourier seasonality, as `Prophet.add_seasonality` takes it.

    Attributes:
        name: Component name, unique within the specification.
        period: Length in days.
        fourier_order: Number of sine and cosine pairs, at least 1.
        prior_scale: Standard deviation of the normal prior on its coefficients, in scaled units.
        mode: Whether it adds to the trend or multiplies it.
    """

    name: str
    period: float
    fourier_order: int
    prior_scale: float = 10.0
    mode: Mode = "additive"


@dataclass(frozen=True)
class Regressor:
    """An extra regressor, as `Prophet.add_regressor` takes it.

    Attributes:
        name: Component name, unique within the specification.
        prior_scale: Standard deviation of the normal prior on its coefficient, in scaled units.
        standardize: Subtract the mean and divide by the standard deviation; "auto" leaves binary columns.
        mode: Whether it adds to the trend or multiplies it.
    """

    name: str
    prior_scale: float = 10.0
    standardize: Literal["auto"] | bool = "auto"
    mode: Mode = "additive"


def _usable_scale(scale: float) -> bool:
    return 1 / MAGNITUDE_LIMIT <= scale <= MAGNITUDE_LIMIT


@dataclass(frozen=True)
class ProphetSpec:
    """Prophet's model, shared by every series of a batch.

    Attributes:
        growth: Trend; "logistic" needs a capacity on every row.
        seasonalities: Fourier seasonalities, none by default (nothing is detected).
        regressors: Extra regressors, in the order of `SeriesBatch.regressors`.
        n_changepoints: Largest number of potential changepoints.
        changepoint_range: Share of the rows that changepoints are spread over.
        changepoint_prior_scale: Scale of the Laplace prior on the changes of slope.

    Raises:
        ValueError: A number is out of range or two components share a name.
    """

    growth: Growth = "linear"
    seasonalities: tuple[Seasonality, ...] = ()
    regressors: tuple[Regressor, ...] = ()
    n_changepoints: int = 25
    changepoint_range: float = 0.8
    changepoint_prior_scale: float = 0.05

    def __post_init__(self) -> None:
        if self.growth not in ("flat", "linear", "logistic"):
            raise ValueError(f"growth is 'flat', 'linear' or 'logistic', not {self.growth!r}")
        names = [part.name for part in (*self.seasonalities, *self.regressors)]
        if len(set(names)) < len(names):
            raise ValueError(f"component names must differ, got {names}")
        scales = [part.prior_scale for part in (*self.seasonalities, *self.regressors)]
        if not all(_usable_scale(scale) for scale in (*scales, self.changepoint_prior_scale)):
            raise ValueError(f"prior scales must lie between {1 / MAGNITUDE_LIMIT} and {MAGNITUDE_LIMIT}")
        if any(part.fourier_order < 1 or not 0 < part.period < np.inf for part in self.seasonalities):
            raise ValueError("a seasonality needs fourier_order >= 1 and a positive period")
        if self.n_changepoints < 0 or not 0 <= self.changepoint_range <= 1:
            raise ValueError("n_changepoints must be >= 0 and changepoint_range within [0, 1]")


@dataclass(frozen=True)
class SeriesBatch:
    """Daily rows of many series, one series after the other, each with its own dates and length.

    Attributes:
        offsets: (n + 1,) int64; rows ``offsets[i]:offsets[i + 1]`` are series i, empty series are allowed.
        days: (rows,) int64 days since 1970-01-01, ascending within a series; gaps and repeats are allowed.
        values: (rows,) float64 observations in their own unit; NaN is a missing one. None for days to forecast.
        cap: (rows,) float64 capacity in the unit of the values, for logistic growth only.
        regressors: (rows, r) float64, or None for no regressors.
        regressor_prior_scales: (n, r) float64 prior scales per series that replace those of the specification.
            In scaled units as Prophet's own: a scale in the unit of the values is divided by `value_scales`.
        seasonality_prior_scales: (n, s) float64, the same for the seasonalities.

    Raises:
        ValueError: Shapes disagree, days are out of order or out of range, or a number is infinite.
    """

    offsets: NDArray[np.int64]
    days: NDArray[np.int64]
    values: NDArray[np.float64] | None = None
    cap: NDArray[np.float64] | None = None
    regressors: NDArray[np.float64] | None = None
    regressor_prior_scales: NDArray[np.float64] | None = None
    seasonality_prior_scales: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        for name, dtype in (("offsets", np.int64), ("days", np.int64)):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=dtype))
        rows = self.days.size
        sizes = np.diff(self.offsets)
        if self.offsets.ndim != 1 or self.offsets.size == 0 or self.offsets[0] != 0 or self.offsets[-1] != rows:
            raise ValueError(f"offsets must run from 0 to the number of days ({rows})")
        if (sizes < 0).any():
            raise ValueError("offsets must not decrease")
        if rows and (self.days.min() < -DAY_LIMIT or self.days.max() > DAY_LIMIT):
            raise ValueError("days are counted from 1970-01-01 and must lie within the years 1678 to 2261")
        self._require_order()
        shapes = {
            "values": (rows,),
            "cap": (rows,),
            "regressors": (rows, -1),
            "regressor_prior_scales": (self.n_series, -1),
            "seasonality_prior_scales": (self.n_series, -1),
        }
        for name, shape in shapes.items():
            self._check(name, shape)

    def _require_order(self) -> None:
        falls = np.flatnonzero(np.diff(self.days) < 0) + 1
        inside = np.setdiff1d(falls, self.offsets)
        if inside.size:
            raise ValueError(f"days must ascend within a series, row {inside[0]} is earlier than the row before")

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        found = getattr(self, name)
        if found is None:
            return
        array = np.ascontiguousarray(found, dtype=np.float64)
        expected = tuple(have if want < 0 else want for have, want in zip(array.shape, shape, strict=False))
        if array.ndim != len(shape) or array.shape != expected:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape} (-1: any)")
        finite = np.isfinite(array) | np.isnan(array) if name == "values" else np.isfinite(array)
        if not finite.all():
            raise ValueError(f"{name} holds numbers that are not finite")
        if name == "regressors" and (np.abs(array) > MAGNITUDE_LIMIT).any():
            raise ValueError(f"regressors must not exceed {MAGNITUDE_LIMIT} in size")
        if "scales" in name and not ((array >= 1 / MAGNITUDE_LIMIT) & (array <= MAGNITUDE_LIMIT)).all():
            raise ValueError(f"{name} must lie between {1 / MAGNITUDE_LIMIT} and {MAGNITUDE_LIMIT}")
        object.__setattr__(self, name, array)

    @property
    def n_series(self) -> int:
        """Number of series."""
        return self.offsets.size - 1

    def observed(self) -> "SeriesBatch":
        """The same batch without the rows whose value is missing, as Prophet drops them.

        Raises:
            ValueError: The batch has no values.
        """
        if self.values is None:
            raise ValueError("a batch to fit needs values")
        keep = ~np.isnan(self.values)
        if keep.all():
            return self
        kept_before = np.concatenate(([0], np.cumsum(keep)))
        return SeriesBatch(
            kept_before[self.offsets],
            self.days[keep],
            self.values[keep],
            None if self.cap is None else self.cap[keep],
            None if self.regressors is None else self.regressors[keep],
            self.regressor_prior_scales,
            self.seasonality_prior_scales,
        )


def value_scales(batch: SeriesBatch) -> NDArray[np.float64]:
    """Largest absolute value of each series, which Prophet divides the values by.

    Args:
        batch: Series with values; missing ones are left out.

    Returns:
        (n,) float64 in the unit of the values; 1 for a series that is empty or all zero.

    Raises:
        ValueError: The batch has no values.
    """
    observed = batch.observed()
    assert observed.values is not None  # noqa: S101  observed() has checked it
    result = np.zeros(batch.n_series)
    filled = np.flatnonzero(np.diff(observed.offsets))
    if filled.size:
        result[filled] = np.maximum.reduceat(np.abs(observed.values), observed.offsets[filled])
    return np.where(result > 0, result, 1.0)
