"""Proposals of concerts: fans, thresholds, and what a concert would sell where fans ask for it."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmt_assets.forecasting import ForecastInputs
from mmt_assets.forecasting.fan_demand import demand_by_place
from mmt_assets.forecasting.inputs import epoch_day
from mmt_assets.forecasting.proposals import COLUMNS, ProposalOptions, propose_concerts

AS_OF = date(2026, 6, 30)
PLACE = {"artist": "Epik High", "country": "DE", "city": "Berlin"}


def makes(per_day: int, days: int = 56, **place: str) -> pd.DataFrame:
    """New fans each day up to the as-of date."""
    dates = [AS_OF - timedelta(days=k) for k in range(days)][::-1]
    return pd.DataFrame({**PLACE, **place, "demand_date": dates, "makes_count": per_day, "new_fans_count": per_day})


def ahead(so_far: int, *, p10: float, p50: float, p90: float, **place: str) -> pd.DataFrame:
    """A demand forecast of so many fans a day."""
    rows = [
        {**PLACE, **place, "days_ahead": h, "fans_so_far": so_far}
        | {f"fans_p{q}": so_far + h * rate for q, rate in ((10, p10), (50, p50), (90, p90))}
        for h in (7, 14, 28, 56, 84)
    ]
    return pd.DataFrame(rows)


def demand(made: pd.DataFrame, said: pd.DataFrame, threshold: int, **by_country: int) -> "pd.Series[Any]":
    table = demand_by_place(made, said, epoch_day(AS_OF), threshold_fans=threshold, by_country=by_country)
    return table.iloc[0]


def test_the_threshold_is_reached_where_the_demand_forecast_crosses_it() -> None:
    row = demand(makes(2), ahead(112, p10=0.0, p50=2.0, p90=4.0), 140)
    assert (row["fans_so_far"], row["fans_per_week"], row["pace_change_pct"]) == (112, 14.0, 0.0)
    assert not row["is_threshold_reached"]
    assert row["threshold_date"] == pd.Timestamp(AS_OF + timedelta(days=14))
    assert row["threshold_date_early"] == pd.Timestamp(AS_OF + timedelta(days=7))
    assert pd.isna(row["threshold_date_late"])


def test_a_threshold_that_is_reached_already_has_the_day_on_which_it_was() -> None:
    row = demand(makes(2), ahead(112, p10=1.0, p50=2.0, p90=4.0), 101)
    assert row["is_threshold_reached"]
    # 2 fans a day from 6 May on: the 101st asks on the 51st day.
    assert {row[f"threshold_date{part}"] for part in ("", "_early", "_late")} == {pd.Timestamp(2026, 6, 25)}


def test_countries_have_thresholds_of_their_own_and_new_places_no_pace_to_compare_with() -> None:
    row = demand(makes(3, days=10), ahead(30, p10=1.0, p50=3.0, p90=4.0), 1000, DE=30, KR=5)
    assert (row["threshold_fans"], row["is_threshold_reached"]) == (30, True)
    assert pd.isna(row["pace_change_pct"])


def world(finished: int = 120) -> tuple[ForecastInputs, pd.DataFrame]:
    """Finished concerts that sold five tickets for each fan, up to their capacity, and places without a concert."""
    random = np.random.default_rng(3)
    concerts, sales, fans = [], [], []
    for i in range(finished):
        place = {"artist": f"artist {i % 12}", "country": "DE", "city": f"city {i // 12}"}
        asked = int(random.integers(20, 400))
        capacity = int(random.choice([300, 1000, 3000]))
        show = AS_OF - timedelta(days=int(random.integers(5, 240)))
        on_sale = show - timedelta(days=60)
        wanted = int(5 * asked * random.lognormal(0, 0.25))
        fans.append(makes(0).iloc[:1].assign(**place, new_fans_count=asked, makes_count=asked))
        concerts.append({**place, "concert_id": f"c{i}", "venue": None, "capacity": capacity, "on_sale_date": on_sale,
                         "show_date": show, "status": "completed", "currency": "EUR"})  # fmt: skip
        days = pd.date_range(on_sale, show)
        # Nobody can buy any more once it is sold out.
        sold = np.minimum(random.multinomial(wanted, np.full(len(days), 1 / len(days))).cumsum(), capacity)
        sales.append(
            pd.DataFrame({"concert_id": f"c{i}", "sales_date": days, "tickets_sold": np.diff(sold, prepend=0)})
        )
    for artist, count in (("small", 30), ("middle", 150), ("large", 390), ("planned", 390)):
        fans.append(
            makes(0).iloc[:1].assign(artist=artist, city="nowhere yet", new_fans_count=count, makes_count=count)
        )
    concerts.append({**concerts[0], "concert_id": "next", "artist": "planned", "city": "nowhere yet",
                     "show_date": AS_OF + timedelta(days=90), "status": "announced"})  # fmt: skip
    everything = pd.concat(sales).assign(tickets_refunded=0)
    asked_for = pd.concat(fans, ignore_index=True)
    known = asked_for.groupby(list(PLACE), as_index=False)["new_fans_count"].sum()
    inputs = ForecastInputs(pd.DataFrame(concerts), everything, known.rename(columns={"new_fans_count": "fans_count"}))
    return inputs, asked_for


def forecast_of(made: pd.DataFrame) -> pd.DataFrame:
    totals = made.groupby(list(PLACE), as_index=False)["new_fans_count"].sum()
    rows = [
        ahead(int(count), p10=0.0, p50=0.5, p90=1.0, artist=artist, country=country, city=city)
        for artist, country, city, count in totals.itertuples(index=False)
    ]
    return pd.concat(rows, ignore_index=True)


def test_what_a_concert_would_sell_grows_with_its_fans_and_is_held_by_its_capacity() -> None:
    inputs, made = world()
    said = forecast_of(made)
    options = ProposalOptions(threshold_fans=100, capacities=(3000, 300, 1000))
    table = propose_concerts(inputs, made, said, AS_OF, options)
    assert list(table.columns) == list(COLUMNS)
    new = table[table["city"] == "nowhere yet"].set_index(["artist", "capacity"]).sort_index()
    roomy = new.reset_index().query("capacity == 3000").set_index("artist")["tickets_p50"].to_dict()
    assert roomy["small"] < roomy["middle"] < roomy["large"]
    assert roomy["large"] == pytest.approx(5 * 390, rel=0.35)
    assert roomy["middle"] == pytest.approx(5 * 150, rel=0.35)
    figures = table[["tickets_p10", "tickets_p50", "tickets_p90", "capacity"]].to_numpy(dtype=float)
    assert (np.diff(figures) >= -1e-6).all()
    assert all(part.is_monotonic_increasing for _, part in table.groupby(list(PLACE))["tickets_p50"])
    chance = {key: row["sell_out_probability"] for key, row in new.to_dict("index").items()}
    assert chance["large", 300] > 0.95
    assert chance["small", 3000] < 0.05
    # The largest hall that is expected to sell 80%.
    recommended = set(new.index[new["is_recommended"]])
    assert {("small", 300), ("large", 1000)} <= recommended
    assert set(table["assumed_on_sale_date"]) == {pd.Timestamp(AS_OF + timedelta(days=28))}
    assert new["comparables"].str.match(r"c\d+(, c\d+)*$").all()
    assert "past concerts that it was not shown" in table["method_reason"].iloc[0]


def test_rank_prefers_places_without_a_concert_then_a_threshold_within_reach_then_tickets() -> None:
    inputs, made = world()
    table = propose_concerts(inputs, made, forecast_of(made), AS_OF, ProposalOptions(100, capacities=(300, 1000, 3000)))
    place = table[table["is_recommended"]].set_index("proposal_rank")
    assert place.index.tolist() == list(range(1, 125))
    assert place.loc[124, "artist"] == "planned"
    assert place.loc[124, "planned_concerts"] == "next"
    assert place["planned_concerts"].notna().sum() == 1
    free = place.iloc[:-1]
    assert free["threshold_date"].isna().is_monotonic_increasing
    reached = free[free["threshold_date"].notna()]
    assert reached["tickets_p50"].iloc[:10].mean() > reached["tickets_p50"].iloc[-10:].mean()
    options = ProposalOptions(100, capacities=(300, 1000, 3000), limit=5)
    few = propose_concerts(inputs, made, forecast_of(made), AS_OF, options)
    pd.testing.assert_frame_equal(few, table[table["proposal_rank"] <= 5])


def test_without_past_concerts_proposals_say_that_they_know_little() -> None:
    inputs, made = world(finished=3)
    table = propose_concerts(inputs, made, forecast_of(made), AS_OF, ProposalOptions(100))
    assert set(table["method_reason"]) == {"3 past concerts: too few to learn errors from, wide intervals"}
    assert np.isfinite(table["tickets_p50"]).all()
    assert propose_concerts(inputs, made, forecast_of(made).iloc[:0], AS_OF, ProposalOptions()).empty


def test_a_concert_whose_sale_began_before_the_records_teaches_nothing() -> None:
    inputs, made = world()
    cut = inputs.sales[inputs.sales["sales_date"] >= pd.Timestamp(AS_OF - timedelta(days=100))]
    table = propose_concerts(
        ForecastInputs(inputs.concerts, cut, inputs.demand), made, forecast_of(made), AS_OF, ProposalOptions(100)
    )
    taught = sum(
        row["on_sale_date"] >= cut["sales_date"].min().date() and row["status"] == "completed"
        for row in inputs.concerts.to_dict("records")
    )
    assert table["method_reason"].iloc[0].startswith(f"{taught} past concerts: too few") or (
        f"of {taught} past concerts" in table["method_reason"].iloc[0]
    )
