"""How the forecast assets scale: python -m benchmarks.scale --concerts 50000 --json.

A warehouse is filled with simulated features (random sales on a booking curve with a rush at both ends, not the sample
world, so that its size is an option), and the day's forecast assets run on it as they do every morning: a real Dagster
instance, the worker in a process of its own, reads, forecasts, writes, exports and asset checks. The last line printed
is one JSON object; seconds are wall clock, peak memory that of the largest process.
"""

import argparse
import json
import resource
import tempfile
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import duckdb
import numpy as np
import pandas as pd

from mmt_assets.build import build_definitions
from mmt_assets.contracts import CITY_DEMAND, CONCERT_SALES, CONCERTS
from mmt_assets.settings import Settings
from mmt_assets.warehouse import DuckDBWarehouse, Fence, ReplaceSlice, Slice

AS_OF = date(2026, 6, 30)
SALE_DAYS = 90
FORECASTS = ("ticket_sales", "concert_outlook", "booking_curves", "city_demand_forecast", "concert_proposals")


def fill_warehouse(path: Path, concerts: int, finished: int) -> int:
    """Write raw/concerts and both feature tables; returns the rows of sales."""
    random = np.random.default_rng(5)
    total = concerts + finished
    to_show = np.where(
        np.arange(total) < concerts, random.integers(1, SALE_DAYS, total), -random.integers(1, 400, total)
    )
    capacity = np.round(np.exp(random.normal(7.3, 0.6, total)), -1)
    wanted = capacity * np.exp(random.normal(-0.5, 0.5, total))
    day = np.arange(SALE_DAYS)
    curve = 0.02 + np.exp(-day / 5) * 0.15 + np.exp(-(SALE_DAYS - day) / 10) * 0.06
    sold = random.poisson(np.outer(wanted, curve / curve.sum()))
    sold *= day[None, :] - SALE_DAYS <= -to_show[:, None]
    row, column = np.nonzero(sold)
    names = np.array([f"concert-{number:06d}" for number in range(total)])
    as_of = pd.Timestamp(AS_OF)
    sales = pd.DataFrame(
        {
            "concert_id": names[row],
            "sales_date": as_of + pd.to_timedelta(to_show[row] - SALE_DAYS + column, unit="D"),
            "orders_count": sold[row, column],
            "tickets_sold": sold[row, column],
            "tickets_refunded": 0,
            "tickets_net": sold[row, column],
            "gross_revenue": sold[row, column] * 50,
            "currency": "EUR",
        }
    )
    places = pd.DataFrame(
        {
            "artist": [f"artist {number % 300}" for number in range(total)],
            "city": [f"city {number % 40}" for number in range(total)],
            "country": "Germany",
        }
    )
    zone = "UTC"
    show = (as_of + pd.to_timedelta(to_show, unit="D")).tz_localize(zone) + pd.Timedelta(hours=12)
    known = pd.DataFrame({"concert_id": names}).join(places)
    known = known.assign(
        version=1,
        content_hash="simulated",
        known_from_date=as_of - pd.Timedelta(days=900),
        venue=None,
        capacity=capacity.astype(np.int64),
        on_sale_at=show - pd.Timedelta(days=SALE_DAYS),
        show_at=show,
        show_date=as_of + pd.to_timedelta(to_show, unit="D"),
        status="on_sale",
        status_at=None,
        timezone=None,
    )
    demand = places.drop_duplicates().reset_index(drop=True)
    demand = demand.assign(demand_date=as_of - pd.Timedelta(days=100), makes_count=50, new_fans_count=50)
    fence = Fence("benchmark", datetime(2026, 1, 1, tzinfo=ZoneInfo(zone)))
    everything = Slice(first=AS_OF - timedelta(days=900), last=AS_OF)
    with DuckDBWarehouse(path, 60).open() as session:
        session.write([ReplaceSlice(CONCERTS, Slice(), known[list(CONCERTS.column_names)])], fence=fence)
        session.write([ReplaceSlice(CONCERT_SALES, everything, sales)], fence=fence)
        session.write([ReplaceSlice(CITY_DEMAND, everything, demand[list(CITY_DEMAND.column_names)])], fence=fence)
    return len(sales)


def run(concerts: int, finished: int) -> dict[str, object]:
    """Fill a warehouse, run the day's forecast assets, and tell where the time went."""
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder) as instance:
        settings = Settings.model_validate(
            {"home": folder, "source": folder, "timezone": "UTC", "first_day": AS_OF, "last_day": AS_OF}
        )
        rows = fill_warehouse(settings.warehouse_path, concerts, finished)
        for contract in (CONCERT_SALES, CITY_DEMAND):
            event = dg.AssetMaterialization([contract.schema, contract.name], partition=AS_OF.isoformat())
            instance.report_runless_asset_event(event)
        definitions = build_definitions(settings)
        forecasts = [
            asset
            for asset in definitions.assets or []
            if isinstance(asset, dg.AssetsDefinition) and asset.op.name == "day_forecasts"
        ]
        sources = [
            dg.AssetSpec(key) for key in sorted(forecasts[0].dependency_keys, key=str) if key not in forecasts[0].keys
        ]
        began = time.monotonic()
        result = dg.materialize(
            [*forecasts, *sources],
            partition_key=AS_OF.isoformat(),
            resources=definitions.resources,
            instance=instance,
        )
        seconds = time.monotonic() - began
        event = result.asset_materializations_for_node("day_forecasts")[0]
        parts = {name: value.value for name, value in event.metadata.items() if name.endswith("_seconds")}
        with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
            written = {
                table: connection.execute(f"SELECT COUNT(*) FROM forecasts.{table}").fetchall()[0][0]  # noqa: S608
                for table in FORECASTS
            }
    usage = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "concerts": concerts,
        "finished": finished,
        "sales_rows": rows,
        "seconds": round(seconds, 1),
        **parts,
        "outside_worker_seconds": round(seconds - sum(float(str(part)) for part in parts.values()), 1),
        "peak_mb": round(usage / 1024),
        "rows_written": written,
    }


def main() -> None:
    """Run at the sizes asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concerts", type=int, nargs="+", default=[1000, 10_000, 50_000])
    parser.add_argument("--finished", type=int, default=3000)
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    arguments = parser.parse_args()
    results = [run(concerts, arguments.finished) for concerts in arguments.concerts]
    if not arguments.json:
        print(pd.DataFrame(results).drop(columns="rows_written").T.to_string())
    print(json.dumps({"scale": results}))


if __name__ == "__main__":
    main()
