"""How good past forecasts were: errors and coverage by days before the show, beside additive pick-up."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from mmt_assets.forecasting.inputs import Floats
from mmt_assets.forecasting.pickup import pickup_remaining

HEADLINE_CONCERTS = 30
"""Completed concerts with a live forecast from which on live rows are shown first."""
COVERAGE = 0.8
BAND = 0.03
"""How far coverage may lie from what right intervals hold, before chance is counted in."""
MIN_JUDGED = 10
"""Completed concerts below which nothing is judged."""
FALSE_ALARM = 0.05
"""Chance that any of the numbers of days is called bad by mere chance."""
KEY = ["origin", "scored_days", "segment_by", "segment"]


def with_pickup(said: pd.DataFrame, concerts: pd.DataFrame, sales: pd.DataFrame) -> pd.DataFrame:
    """Add what additive pick-up would have said on the same day, within the same bounds, as `pickup`.

    Args:
        said: Forecasts of completed concerts: origin, scored_days, as_of_date, concert_id, days_to_show, sold,
            capacity, final_p10/p50/p90, sell_out_probability, method, champion, country, show_date, actual.
        concerts: concert_id, show_date of all concerts that were not cancelled.
        sales: concert_id, sales_date, tickets_sold, tickets_refunded.
    """
    net = sales.assign(net=sales["tickets_sold"] - sales["tickets_refunded"])
    remaining = pickup_remaining(concerts, net[["concert_id", "sales_date", "net"]], said)["additive"]
    sold = said["sold"].to_numpy(dtype=np.float64)
    capacity = pd.to_numeric(said["capacity"]).to_numpy(dtype=np.float64)
    limit = np.where(np.isnan(capacity), np.inf, np.maximum(capacity, sold))
    return said.assign(pickup=np.clip(sold + remaining.to_numpy(), 0.0, limit))


def scoreboard(said: pd.DataFrame) -> pd.DataFrame:
    """Score what was published and the yardstick, per origin, days before the show and segment.

    Args:
        said: What `with_pickup` returned.

    Returns:
        The columns of the accuracy table that are not about the run: origin, days_to_show, model, segment_by,
        segment, is_headline, concerts_count, first_show_date, last_show_date, actual_tickets, forecast_tickets,
        wape, bias, coverage_80, expected_coverage, sell_out_brier, champion, champion_share.
    """
    parts = [said.assign(segment_by="all", segment="all")]
    for name in ("country", "method", "champion"):
        known = said[said[name].notna()]
        parts.append(known.assign(segment_by=name, segment=known[name].astype(str)))
    rows = [
        {**dict(zip(KEY, key, strict=True)), **row}
        for key, group in pd.concat(parts, ignore_index=True).groupby(KEY, sort=True)
        if isinstance(key, tuple)
        for row in _scores(group)
    ]
    table = pd.DataFrame(rows, columns=[*KEY, *_COLUMNS])
    table["is_headline"] = table["origin"] == table["scored_days"].map(headline_origins(said))
    return table.rename(columns={"scored_days": "days_to_show"})


_COLUMNS = (
    "model",
    "concerts_count",
    "first_show_date",
    "last_show_date",
    "actual_tickets",
    "forecast_tickets",
    "wape",
    "bias",
    "coverage_80",
    "expected_coverage",
    "sell_out_brier",
    "champion",
    "champion_share",
)


def headline_origins(said: pd.DataFrame) -> dict[int, str]:
    """Return per scored days whose rows to show first: live with enough concerts or where there is nothing else."""
    counts = said.groupby(["scored_days", "origin"])["concert_id"].nunique().unstack(fill_value=0)  # noqa: PD010
    counts = counts.reindex(columns=["live", "backfill"], fill_value=0)
    is_live = (counts["live"] >= HEADLINE_CONCERTS) | (counts["backfill"] == 0)
    return {int(str(days)): "live" if live else "backfill" for days, live in is_live.items()}


def _scores(group: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Score one segment: a row for what was published, one for the yardstick."""
    actual = group["actual"].to_numpy(dtype=np.float64)
    shows = pd.to_datetime(group["show_date"])
    common = {
        "concerts_count": len(group),
        "first_show_date": shows.min(),
        "last_show_date": shows.max(),
        "actual_tickets": int(actual.sum()),
    }
    champions = group["champion"].dropna().value_counts()
    yield {
        **common,
        "model": "published",
        **_errors(group["final_p50"].to_numpy(dtype=np.float64), actual),
        "coverage_80": float(_inside(group).mean()),
        "expected_coverage": float(_expected_coverage(group).mean()),
        "sell_out_brier": _brier(group),
        "champion": champions.index[0] if len(champions) else None,
        "champion_share": float(champions.iloc[0] / champions.sum()) if len(champions) else None,
    }
    yield {
        **common,
        "model": "additive_pickup",
        **_errors(group["pickup"].to_numpy(dtype=np.float64), actual),
        "coverage_80": None,
        "expected_coverage": None,
        "sell_out_brier": None,
        "champion": None,
        "champion_share": None,
    }


def _errors(forecast: Floats, actual: Floats) -> dict[str, float | None]:
    total = float(actual.sum())
    return {
        "forecast_tickets": float(forecast.sum()),
        "wape": float(np.abs(forecast - actual).sum()) / total if total > 0 else None,
        "bias": float((forecast - actual).sum()) / total if total > 0 else None,
    }


def _inside(group: pd.DataFrame) -> "pd.Series[bool]":
    return group["actual"].between(group["final_p10"] - 1e-6, group["final_p90"] + 1e-6)


def _expected_coverage(group: pd.DataFrame) -> Floats:
    """Return how often a right interval holds what happens: nothing can lie above one that ends at the capacity."""
    full = group["capacity"].astype(np.float64) - 1e-6
    nothing_above = np.where(group["final_p90"] >= full, (1 - COVERAGE) / 2, 0.0)
    # Where all of it is the capacity, it holds the sell-outs.
    chance = np.where(group["sold"] >= full, 1.0, group["sell_out_probability"].astype(np.float64))
    return np.where(group["final_p10"] >= full, chance, COVERAGE + nothing_above)


def _brier(group: pd.DataFrame) -> float | None:
    judged = group[group["sell_out_probability"].notna() & group["capacity"].notna()]
    sold_out = (judged["actual"] >= judged["capacity"]).astype(float)
    return float(((judged["sell_out_probability"] - sold_out) ** 2).mean()) if len(judged) else None


@dataclass(frozen=True)
class Judgement:
    """One question about the newest completed concerts.

    Attributes:
        passed: Whether the answer is good; too few concerts pass.
        is_certain: Whether a bad answer is beyond chance.
        message: The answer in words.
        figures: Numbers behind it.
    """

    passed: bool
    is_certain: bool
    message: str
    figures: dict[str, float]


def newest(said: pd.DataFrame, concerts_count: int) -> pd.DataFrame:
    """Return the forecasts of the last completed concerts, live ones if enough concerts have some."""
    live = said[said["origin"] == "live"]
    is_live = live["concert_id"].nunique() >= HEADLINE_CONCERTS or len(live) == len(said)
    chosen = live if is_live else said[said["origin"] == "backfill"]
    shows = pd.to_datetime(chosen.groupby("concert_id")["show_date"].max())
    return chosen[chosen["concert_id"].isin(shows.sort_values(kind="stable").index[-concerts_count:])]


def judge_errors(recent: pd.DataFrame) -> Judgement:
    """Whether the published forecasts did at least as well as additive pick-up.

    It fails when they did worse over all days before the show together, or at one of them beyond chance.

    Args:
        recent: What `newest` returned.
    """
    concerts = recent["concert_id"].nunique()
    if concerts < MIN_JUDGED:
        return _too_few(concerts)
    actual = recent["actual"].sum()
    published = (recent["final_p50"] - recent["actual"]).abs()
    pickup = (recent["pickup"] - recent["actual"]).abs()
    difference = (published - pickup).groupby(recent["concert_id"]).sum()
    # Days before the show of one concert err together: the concert is the unit of chance.
    is_certain = _beyond_chance(difference, levels=1)
    by_days = (published - pickup).groupby(recent["scored_days"])
    worse = [int(str(days)) for days, part in by_days if _beyond_chance(part, levels=by_days.ngroups) and len(part) > 1]
    total = max(float(actual), 1.0)
    figures = {"wape_published": float(published.sum()) / total, "wape_additive_pickup": float(pickup.sum()) / total}
    told = (
        f"WAPE {figures['wape_published']:.1%} against {figures['wape_additive_pickup']:.1%} of additive pick-up over "
        f"{_described(recent)}"
    )
    if worse:
        told += f"; worse beyond chance {', '.join(map(str, worse))} days before the show"
    return Judgement(bool(difference.sum() <= 0) and not worse, is_certain or bool(worse), told, figures)


def judge_coverage(recent: pd.DataFrame) -> Judgement:
    """Whether the 80% intervals hold as much of what happened as right ones do, at each number of days before the show.

    That is 80%, and more where intervals end at the capacity, give or take `BAND`, widened by the binomial error of
    so many concerts.

    Args:
        recent: What `newest` returned.
    """
    concerts = recent["concert_id"].nunique()
    if concerts < MIN_JUDGED:
        return _too_few(concerts)
    judged = recent.assign(inside=_inside(recent), expected=_expected_coverage(recent))
    covered = judged.groupby("scored_days").agg(
        inside=("inside", "mean"), expected=("expected", "mean"), concerts=("inside", "size")
    )
    covered = covered[covered["concerts"] >= MIN_JUDGED]
    width = _limit(len(covered)) * np.sqrt(covered["expected"] * (1 - covered["expected"]) / covered["concerts"])
    outside = (covered["inside"] - covered["expected"]).abs() > BAND + width
    told = ", ".join(f"{row.inside:.0%} of {row.expected:.0%} at {row.Index} days" for row in covered.itertuples())
    message = f"80% intervals held {told}; {_described(recent)}"
    if outside.any():
        message += f"; outside the band {', '.join(str(days) for days in covered.index[outside])} days before the show"
    figures = {f"coverage_{days}_days": float(share) for days, share in covered["inside"].items()}
    return Judgement(not bool(outside.any()), True, message, figures)


def _too_few(concerts: int) -> Judgement:
    return Judgement(
        True, False, f"{concerts} completed concerts have a forecast, {MIN_JUDGED} are needed to judge", {}
    )


def _described(recent: pd.DataFrame) -> str:
    shows = pd.to_datetime(recent["show_date"])
    made = "live" if (recent["origin"] == "live").all() else "backfilled"
    return (
        f"{recent['concert_id'].nunique()} concerts with {made} forecasts, shows {shows.min():%Y-%m-%d} to "
        f"{shows.max():%Y-%m-%d}"
    )


def _limit(levels: int) -> float:
    """Standard errors that are passed by chance in one of 20 judgements of so many levels (Bonferroni)."""
    return NormalDist().inv_cdf(1 - FALSE_ALARM / 2 / max(levels, 1))


def _beyond_chance(difference: "pd.Series[float]", *, levels: int) -> bool:
    """Whether a sum of differences is above 0 by more than chance."""
    error = np.sqrt(len(difference)) * difference.std() if len(difference) > 1 else np.inf
    return bool(difference.sum() > _limit(levels) * error)
