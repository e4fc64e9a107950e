"""Demand of fans per artist, country and city: how many ask, how fast, and when a threshold is reached."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mmt_assets.forecasting.demand import PLACE
from mmt_assets.forecasting.inputs import epoch_days, timestamps

LEAD_DAYS = 28
"""Days from the as-of date to the assumed start of a sale: one of the horizons of the demand forecast."""
PACE_DAYS = 28


def demand_by_place(
    makes: pd.DataFrame, ahead: pd.DataFrame, day: int, *, threshold_fans: int, by_country: Mapping[str, int]
) -> pd.DataFrame:
    """Return one row per place that is in the demand forecast.

    Args:
        makes: artist, country, city, demand_date, new_fans_count until the as-of day.
        ahead: What `forecast_demand` said as of that day.
        day: The as-of day.
        threshold_fans: Fans from which a concert is worth proposing.
        by_country: The same for countries that differ.

    Returns:
        artist, country, city, fans_so_far, fans_per_week (over the last four weeks), pace_change_pct (against the four
        weeks before), threshold_fans, is_threshold_reached,
        threshold_date (the day on which it was reached, else the one on which the median path does), with
        threshold_date_early and threshold_date_late by the 90% and 10% paths; null beyond the demand forecast.
    """
    days = epoch_days(makes["demand_date"])
    recent = makes[days > day - PACE_DAYS].groupby(PLACE)["new_fans_count"].sum()
    before = makes[(days <= day - PACE_DAYS) & (days > day - 2 * PACE_DAYS)].groupby(PLACE)["new_fans_count"].sum()
    places = ahead[[*PLACE, "fans_so_far"]].drop_duplicates(PLACE).set_index(PLACE)
    recent, before = recent.reindex(places.index, fill_value=0), before.reindex(places.index, fill_value=0)
    places["fans_per_week"] = recent / (PACE_DAYS / 7)
    places["pace_change_pct"] = (100.0 * (recent / before.where(before > 0) - 1)).astype(np.float64)
    places = places.reset_index()
    places["threshold_fans"] = places["country"].map(by_country).fillna(threshold_fans).astype(np.int64)
    places["is_threshold_reached"] = places["fans_so_far"] >= places["threshold_fans"]
    reached = _reached(places, makes)
    for name, level in (("", 50), ("_early", 90), ("_late", 10)):
        expected = _expected_to_reach(places, ahead, f"fans_p{level}", day)
        places[f"threshold_date{name}"] = np.where(places["is_threshold_reached"], reached, expected)
    return places


def _reached(places: pd.DataFrame, makes: pd.DataFrame) -> "pd.Series[pd.Timestamp]":
    """Return the day on which each place's fans reached the threshold; NaT where they have not."""
    fans = makes.sort_values("demand_date", kind="stable").merge(places[[*PLACE, "threshold_fans"]], on=PLACE)
    fans = fans[fans.groupby(PLACE)["new_fans_count"].cumsum() >= fans["threshold_fans"]]
    first = timestamps(fans["demand_date"]).groupby([fans[name] for name in PLACE]).min()
    return first.reindex(pd.MultiIndex.from_frame(places[PLACE])).set_axis(places.index)


def _expected_to_reach(places: pd.DataFrame, ahead: pd.DataFrame, fans: str, day: int) -> "pd.Series[pd.Timestamp]":
    """Return the day on which a quantile of the fans reaches the threshold, between the horizons in a straight line."""
    path = ahead.pivot_table(index=PLACE, columns="days_ahead", values=fans)
    path = path.reindex(pd.MultiIndex.from_frame(places[PLACE]))
    horizons = np.concatenate([[0], path.columns.to_numpy(dtype=np.float64)])
    found = np.full(len(places), np.nan)
    for i, row in enumerate(np.column_stack([places["fans_so_far"], path.to_numpy()]).astype(np.float64)):
        threshold = float(places["threshold_fans"].iloc[i])
        if row[0] < threshold <= row[-1]:
            found[i] = np.ceil(np.interp(threshold, row, horizons))
    days = np.where(np.isnan(found), np.iinfo(np.int64).min, day + np.nan_to_num(found))
    return pd.to_datetime(pd.Series(np.where(np.isnan(found), np.nan, days)), unit="D")
