"""The sample world as material: the size, the habits and the faults that it promises."""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmt_assets.sample import write_source
from mmt_assets.sample.world import CITIES, PRICING

STATUSES = {"paid", "refunded"}
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Source:
    """One written window, read back as anybody would read it."""

    directory: Path
    first_day: date
    last_day: date

    def _read(self, table: str) -> pd.DataFrame:
        files = sorted((self.directory / table).glob("*.parquet"))
        return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)

    @cached_property
    def concerts(self) -> pd.DataFrame:
        concerts = self._read("concerts")
        currency = concerts["country"].map({country: pricing.currency for country, pricing in PRICING.items()})
        return concerts.assign(currency=currency)

    @cached_property
    def raw_orders(self) -> pd.DataFrame:
        orders = self._read("ticket_orders")
        ordered_at = pd.to_datetime(orders["ordered_at"], format=TIME_FORMAT, utc=True, errors="coerce")
        own = self.concerts.set_index("concert_id")
        return orders.assign(
            ordered_at_text=orders["ordered_at"],
            ordered_at=ordered_at,
            own_currency=orders["concert_id"].map(own["currency"]),
        )

    @cached_property
    def raw_makes(self) -> pd.DataFrame:
        makes = self._read("makes")
        return makes.assign(time=pd.to_datetime(makes["made_at"], format=TIME_FORMAT, utc=True, errors="coerce"))

    @cached_property
    def dirty_orders(self) -> dict[str, pd.Series]:
        """One mask per kind."""
        orders = self.raw_orders
        # By the text: nanoseconds cannot hold the year 9999.
        readable = orders["ordered_at_text"].str.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
        return {
            "missing_key": orders["order_id"].isna(),
            "duplicate_key": orders["order_id"].notna() & orders["order_id"].duplicated(),
            "unknown_concert": orders["own_currency"].isna(),
            "zero_quantity": orders["quantity"] == 0,
            "negative_quantity": orders["quantity"] < 0,
            "negative_price": orders["unit_price"] < 0,
            "unparsable_time": ~readable,
            "impossible_time": readable & ~orders["ordered_at_text"].str.startswith("20"),
            "unknown_status": ~orders["status"].isin(STATUSES),
            "unknown_currency": orders["currency"] == "ZZZ",
            "foreign_currency": orders["own_currency"].notna()
            & (orders["currency"] != orders["own_currency"])
            & (orders["currency"] != "ZZZ"),
        }

    @cached_property
    def dirty_makes(self) -> dict[str, pd.Series]:
        makes = self.raw_makes
        return {
            "missing_fan": makes["fan_id"].isna(),
            "unparsable_time": makes["time"].isna(),
            "duplicate_row": makes["time"].notna() & makes.duplicated(),
        }

    @cached_property
    def orders(self) -> pd.DataFrame:
        """Clean orders."""
        return self.raw_orders[~np.logical_or.reduce(list(self.dirty_orders.values()))]

    @cached_property
    def whole(self) -> pd.DataFrame:
        """Concerts whose sale began in the window, ended in it and was not cancelled."""
        concerts = self.concerts
        begins = pd.Timestamp(self.first_day, tz="Asia/Seoul")
        return concerts[(concerts["on_sale_at"] >= begins) & (concerts["status"] == "completed")]

    @cached_property
    def sales(self) -> dict[str, pd.DataFrame]:
        """Clean orders per whole concert, in the order of their time, with `age_days` since on-sale."""
        orders = self.orders[self.orders["concert_id"].isin(self.whole["concert_id"])]
        joined = orders.merge(self.whole[["concert_id", "on_sale_at", "show_at", "capacity"]], on="concert_id")
        joined["age_days"] = (joined["ordered_at"] - joined["on_sale_at"]).dt.total_seconds() / 86_400
        return {str(key): frame.sort_values("ordered_at") for key, frame in joined.groupby("concert_id")}

    @cached_property
    def most_sold_at_once(self) -> pd.DataFrame:
        """Highest net tickets ever and capacity of the whole concerts whose capacity is known."""
        rows = []
        for sales in self.sales.values():
            if sales["capacity"].iloc[0] > 0:
                back = sales[sales["status"] == "refunded"]
                changes = pd.concat(
                    [
                        sales.set_index("ordered_at")["quantity"],
                        -back.set_index("status_at")["quantity"],
                    ]
                ).sort_index(kind="stable")
                rows.append((changes.cumsum().max(), sales["capacity"].iloc[0]))
        return pd.DataFrame(rows, columns=["tickets", "capacity"])

    @cached_property
    def on_sale_per_day(self) -> np.ndarray:
        """How many concerts are on sale at each midnight in Seoul, by the source's own columns."""
        concerts = self.concerts
        first_order = self.orders.groupby("concert_id")["ordered_at"].min()
        opens = concerts["on_sale_at"].fillna(concerts["concert_id"].map(first_order))
        cancelled_at = concerts["status_at"].where(concerts["status"] == "cancelled")
        closes = cancelled_at.fillna(concerts["show_at"])
        midnights = pd.date_range(self.first_day, self.last_day, tz="Asia/Seoul")
        return np.array([((opens <= midnight) & (closes > midnight)).sum() for midnight in midnights])

    @cached_property
    def day_one_shares(self) -> np.ndarray:
        shares = []
        for sales in self.sales.values():
            tickets = sales["quantity"].to_numpy()
            shares.append(tickets[sales["age_days"].to_numpy() < 1].sum() / tickets.sum())
        return np.array(shares)

    @cached_property
    def second_on_sales_count(self) -> int:
        """Concerts that sold, then nothing for two weeks, then at once again."""
        count = 0
        for sales in self.sales.values():
            ages = sales["age_days"].to_numpy()
            silences = np.diff(ages)
            reopening = int(silences.argmax()) + 1
            rush = (ages[reopening:] < ages[reopening] + 1).sum()
            count += int(silences.max() > 14 and reopening >= 20 and rush >= 5)
        return count

    @cached_property
    def silent_days_count(self) -> int:
        days = self.orders["ordered_at"].dt.tz_convert("Asia/Seoul").dt.date
        return (self.last_day - self.first_day).days + 1 - days.nunique()

    @cached_property
    def silent_hours(self) -> np.ndarray:
        """The pauses, in hours, in which the whole platform sold nothing, longest first."""
        times = np.sort(self.orders["ordered_at"].dt.tz_localize(None).to_numpy())
        return np.sort(np.diff(times) / np.timedelta64(1, "h"))[::-1]

    @cached_property
    def refunds_share(self) -> float:
        return float((self.orders["status"] == "refunded").mean())


WINDOWS = (date(2024, 6, 30), date(2026, 11, 21), date(2029, 3, 3))


@pytest.fixture(scope="module", params=WINDOWS, ids=str)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source:
    directory = tmp_path_factory.mktemp("source")
    first_day = (pd.Period(request.param, "M") - 17).start_time.date()
    window = write_source(directory, last_day=request.param, first_day=first_day)
    return Source(directory, window.first_day, window.last_day)


def test_figures_size(source: Source) -> None:
    days_share = ((source.last_day - source.first_day).days + 1) / 547.5
    assert 120_000 < len(source.raw_orders) / days_share < 185_000
    assert 175_000 < len(source.raw_makes) / days_share < 225_000
    begun = source.concerts["on_sale_at"] >= pd.Timestamp(source.first_day, tz="Asia/Seoul")
    assert 110 < begun.sum() / days_share < 135
    assert 140 < len(source.concerts) < 180


def test_figures_concerts_on_sale_at_any_time(source: Source) -> None:
    assert source.on_sale_per_day.min() >= 30
    assert source.on_sale_per_day.max() <= 41


def test_figures_places_artists_and_money(source: Source) -> None:
    cities = source.raw_makes.groupby("city")["country"].nunique()
    assert cities["Birmingham"] == 2
    assert len(source.raw_makes[["city", "country"]].drop_duplicates()) == len(CITIES) == 25
    assert source.concerts["artist"].nunique() == 30
    assert source.orders["currency"].nunique() > 10
    assert (source.orders.groupby("concert_id")["unit_price"].nunique() <= 3).all()
    assert source.orders.groupby("concert_id")["unit_price"].nunique().median() == 3
    assert source.concerts["timezone"].nunique() > 10
    located = source.concerts.dropna(subset="timezone")
    hours = [
        pd.Timestamp(show_at).tz_convert(str(timezone)).hour
        for show_at, timezone in zip(located["show_at"], located["timezone"], strict=True)
    ]
    assert set(hours) == {19}


def test_figures_gaps_in_what_is_known(source: Source) -> None:
    concerts = source.concerts
    assert 3 <= concerts["capacity"].isna().sum() <= 14
    assert (concerts["capacity"] == 0).sum() >= 1
    assert 2 <= concerts["on_sale_at"].isna().sum() <= 8
    assert concerts["venue"].isna().sum() >= 2
    assert concerts["timezone"].isna().sum() >= 1
    requested = set(zip(source.raw_makes["artist"], source.raw_makes["country"], strict=True))
    unrequested = [pair for pair in zip(concerts["artist"], concerts["country"], strict=True) if pair not in requested]
    assert len(unrequested) >= 3


def test_figures_sell_outs(source: Source) -> None:
    filled = source.most_sold_at_once["tickets"] / source.most_sold_at_once["capacity"]
    assert 0.2 < (filled >= 1).mean() < 0.48
    assert 1 <= (filled > 1).sum() <= 12
    assert filled.max() <= 1.02


def test_figures_cancelled_concerts_pay_their_tickets_back(source: Source) -> None:
    cancelled = source.concerts[source.concerts["status"] == "cancelled"]
    assert 1 <= len(cancelled) <= 8
    assert cancelled["status_at"].notna().all()
    settled = cancelled[cancelled["status_at"] < pd.Timestamp(source.last_day, tz="UTC") - timedelta(days=11)]
    orders = source.orders.merge(settled[["concert_id", "status_at"]], on="concert_id", suffixes=("", "_concert"))
    assert len(orders) > 0
    assert (orders["ordered_at"] < orders["status_at_concert"]).all()
    assert (orders["status"] == "refunded").all()
    assert (orders["status_at"] < orders["status_at_concert"] + timedelta(days=10)).all()


def test_figures_refunds(source: Source) -> None:
    assert 0.03 < source.refunds_share < 0.08


def test_figures_outages(source: Source) -> None:
    assert 1 <= source.silent_days_count <= 3
    assert source.silent_hours[0] >= 24
    assert (source.silent_hours >= 3).sum() >= 2
    assert source.silent_hours[4] < 3


def test_figures_second_on_sales(source: Source) -> None:
    assert 4 <= source.second_on_sales_count <= 30


def test_figures_shapes_of_sales(source: Source) -> None:
    assert 4 <= (source.day_one_shares > 0.4).sum() <= 40
    assert (source.day_one_shares < 0.05).sum() >= 10
    rises = 0
    for sales in source.sales.values():
        days_to_show = (sales["show_at"] - sales["ordered_at"]).dt.days
        rises += (days_to_show < 10).sum() > 2 * days_to_show.between(30, 39).sum()
    assert rises >= 15


def test_figures_daily_counts_are_overdispersed_and_know_the_weekday(source: Source) -> None:
    spreads = []
    for sales in source.sales.values():
        day = sales["age_days"].to_numpy().astype(int)
        length = int((sales["show_at"] - sales["on_sale_at"]).dt.days.iloc[0])
        middle = np.bincount(day, minlength=length)[length // 3 : 2 * length // 3]
        if middle.mean() > 3:
            spreads.append(middle.var() / middle.mean())
    assert np.median(spreads) > 1.5
    weekday = source.orders["ordered_at"].dt.tz_convert("Asia/Seoul").dt.dayofweek.value_counts()
    assert weekday[[4, 5]].mean() > 1.05 * weekday[[0, 1, 2]].mean()
    made = source.raw_makes["time"].dt.tz_convert("Asia/Seoul").dt.dayofweek.value_counts()
    assert made[5] > made[1]


def test_figures_demand_informs_about_sales_without_deciding_them(source: Source) -> None:
    made = source.raw_makes.groupby(["artist", "country", "city"]).size().rename("makes").reset_index()
    sold = source.orders.groupby("concert_id")["quantity"].sum().rename("tickets").reset_index()
    both = source.whole.merge(made).merge(sold)
    assert len(both) > 50
    assert 0.4 < both["makes"].rank().corr(both["tickets"].rank()) < 0.92


def test_figures_fans_ask_more_than_once(source: Source) -> None:
    clean = source.raw_makes[~np.logical_or.reduce(list(source.dirty_makes.values()))]
    again = clean.duplicated(["fan_id", "artist", "city", "country"])
    assert 0.05 < again.mean() < 0.4


def test_figures_dirty_orders_by_kind(source: Source) -> None:
    shares = {kind: mask.mean() for kind, mask in source.dirty_orders.items()}
    assert all(0.0005 < share < 0.0016 for share in shares.values()), shares


def test_figures_dirty_makes_by_kind(source: Source) -> None:
    shares = {kind: mask.mean() for kind, mask in source.dirty_makes.items()}
    assert all(0.0005 < share < 0.0016 for share in shares.values()), shares


def test_figures_dirty_orders_break_one_thing_and_take_no_real_key(source: Source) -> None:
    kinds = pd.DataFrame(source.dirty_orders)
    assert (kinds.sum(axis=1) <= 1).all()
    broken = source.raw_orders[kinds.drop(columns=["duplicate_key", "missing_key"]).any(axis=1)]
    assert not broken["order_id"].isin(source.orders["order_id"]).any()
    repeated = source.raw_orders[kinds["duplicate_key"]]
    original = source.orders.set_index("order_id")["ordered_at"].reindex(repeated["order_id"])
    assert original.notna().all()
    assert (repeated["ordered_at"].to_numpy() >= original.to_numpy()).all()
