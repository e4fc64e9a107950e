"""Prior on a concert's level from what is known before the first sale.

log level = ridge on log demand, log capacity, log length of sale, weekday and season of the show, then shrunken
means of what is left per artist, venue, city and country. Newer concerts count more.
"""

from dataclasses import dataclass

import numpy as np

from mmt_assets.forecasting.history import Origin
from mmt_assets.forecasting.inputs import Concerts, Floats, Ints

HALF_LIFE_DAYS = 365.0
RIDGE = 2.0
EFFECTS = ("artist", "venue", "city", "country")
# Concerts a group needs before half of its mean deviation is believed.
EFFECT_STRENGTH = 3.0
SEASON_MIN_DAYS = 500
DEFAULT_SELL_THROUGH = 0.6


@dataclass(frozen=True)
class LevelPrior:
    """Fitted prior; `typical_level` is used where nothing was learned."""

    mean: Floats
    scale: Floats
    coefficients: Floats
    effects: dict[str, dict[object, float]]
    season: bool
    concerts_count: int

    def log_level(self, origin: Origin) -> Floats:
        """Return the expected log level per concert, shape (n,)."""
        concerts = origin.history.concerts
        features = (_features(origin, season=self.season) - self.mean) / self.scale
        value = self.coefficients[0] + features @ self.coefficients[1:]
        for name, known in self.effects.items():
            value = value + np.array([known.get(label, 0.0) for label in concerts.groups[name]])
        return value


def fit_prior(origin: Origin, rows: Ints, log_level: Floats, as_of: int) -> LevelPrior:
    """Fit the prior.

    Args:
        origin: Concerts as known on `as_of`.
        rows: The rows to learn from.
        log_level: Their log levels (tickets per unit of the booking curve).
        as_of: The day; weights halve every `HALF_LIFE_DAYS` before it.
    """
    shows = origin.history.concerts.show[rows]
    season = len(rows) > 0 and int(shows.max() - shows.min()) >= SEASON_MIN_DAYS
    features = _features(origin, season=season)
    if len(rows) == 0:
        zero = np.zeros(features.shape[1])
        return LevelPrior(zero, zero + 1, np.zeros(len(zero) + 1), {}, season, 0)
    weight = 0.5 ** ((as_of - shows) / HALF_LIFE_DAYS)
    chosen = features[rows]
    mean = np.average(chosen, axis=0, weights=weight)
    scale = np.sqrt(np.average((chosen - mean) ** 2, axis=0, weights=weight))
    scale = np.where(scale > 1e-6, scale, 1.0)  # noqa: PLR2004
    design = np.column_stack([np.ones(len(rows)), (chosen - mean) / scale])
    penalty = RIDGE * np.eye(design.shape[1])
    penalty[0, 0] = 1e-6
    weighted = design * weight[:, None]
    coefficients = np.asarray(np.linalg.solve(weighted.T @ design + penalty, weighted.T @ log_level), dtype=np.float64)
    effects = _effects(origin.history.concerts, rows, log_level - design @ coefficients, weight)
    return LevelPrior(mean, scale, coefficients, effects, season, len(rows))


def _effects(concerts: Concerts, rows: Ints, residual: Floats, weight: Floats) -> dict[str, dict[object, float]]:
    """Shrunken mean residual per group, one kind of group after the other."""
    effects: dict[str, dict[object, float]] = {}
    for name in EFFECTS:
        labels, code = np.unique(concerts.groups[name][rows].astype(str), return_inverse=True)
        if len(labels) < 2:  # noqa: PLR2004
            continue
        total = np.bincount(code, weight * residual, len(labels))
        effect = total / (np.bincount(code, weight, len(labels)) + EFFECT_STRENGTH)
        residual = residual - effect[code]
        effects[name] = {label: float(value) for label, value in zip(labels, effect, strict=True) if label}
    return effects


def _features(origin: Origin, *, season: bool) -> Floats:
    concerts = origin.history.concerts
    weekday = np.eye(7)[(concerts.show + 3) % 7]
    columns = [
        *_with_missing(concerts.demand),
        *_with_missing(concerts.capacity),
        np.log1p(np.maximum(origin.sale_days, 0)),
        *weekday.T[1:],
    ]
    if season:
        angle = 2 * np.pi * concerts.show / 365.25
        columns += [np.sin(angle), np.cos(angle)]
    return np.column_stack(columns)


def _with_missing(values: Floats) -> tuple[Floats, Floats]:
    """Log of the values, the known ones' mean where missing, and a marker of the missing."""
    missing = np.isnan(values)
    logs = np.log1p(np.where(missing, 0.0, np.maximum(values, 0.0)))
    return np.where(missing, 0.0, logs), missing.astype(np.float64)
