"""Rolling-origin accuracy of the forecast against plain peers on a directory of source files.

python -m benchmarks.accuracy --source DIR [--json] [--horizons 60 30 14 7 1] [--origins 24]

Every origin sees only what was known at its end: an order counts as paid until its `status_at`, statuses are
derived, the pool holds only concerts that had finished. Errors are those of the net total at show time; a
horizon of h takes concerts within 10% of h days before their show. CRPS is twice the mean pinball loss at
p10, p50 and p90 over the mean total, Brier that of a sell-out. The last line printed is one JSON object.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mmt_assets.forecasting.inputs import ForecastInputs, ForecastOptions
from mmt_assets.forecasting.model import forecast
from mmt_assets.forecasting.prophet_map import ProphetSpec, Seasonality, SeriesBatch, fit, predict

Z80 = 1.2815515655446004
MIN_FINISHED = 60
WEEK = (Seasonality("weekly", 7, 3),)
Quantiles = tuple[float, float, float, float]
"""p10, p50, p90 of the final net total and the probability of a sell-out (NaN: not said)."""


@dataclass(frozen=True)
class Source:
    """Concerts, daily tickets and demand of a source directory."""

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
        makes = self.makes[self.makes["made_on"] <= day]
        keys = ["artist", "country", "city"]
        demand = makes.drop_duplicates([*keys, "fan_id"]).groupby(keys).size().rename("fans_count").reset_index()
        return ForecastInputs(concerts, self.sales[self.sales["sales_date"] <= day], demand)


def read_source(directory: Path) -> Source:
    """Read concerts*, ticket_orders* and makes* files (Parquet); rows that cannot be read are dropped."""
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
    concerts = concerts.assign(
        show_date=_day(concerts["show_at"] if "show_at" in concerts else concerts["show_date"]),
        on_sale_date=_day(concerts["on_sale_at"]).fillna(first),
        capacity=pd.to_numeric(concerts["capacity"], errors="coerce"),
        cancelled_on=_day(concerts["status_at"]).where(concerts["status"] == "cancelled"),
    )
    concerts = concerts[concerts["show_date"].notna() & (concerts["status"] != "cancelled")]
    if any(directory.rglob("makes*")):
        makes = _read(directory, "makes")
        stamp = next(name for name in ("made_at", "created_at", "at") if name in makes)
        makes = makes.assign(made_on=_day(makes[stamp]))
    else:
        makes = pd.DataFrame(columns=["artist", "country", "city", "fan_id", "made_on"])
    return Source(concerts.reset_index(drop=True), sales, makes)


def backtest(source: Source, horizons: list[int], origins: int, options: ForecastOptions) -> pd.DataFrame:
    """Return one row per model, horizon and forecast concert."""
    finals = _finals(source)
    shows = source.concerts["show_date"].sort_values()
    sold_to = source.sales["sales_date"].max()
    first, last = shows.iloc[int(len(shows) * 0.35)], min(shows.iloc[-1], sold_to) - pd.Timedelta(days=1)
    rows: list[dict[str, object]] = []
    for day in pd.date_range(first, last, periods=origins).normalize():
        inputs = source.as_of(day)
        ahead = (inputs.concerts["show_date"] - day).dt.days
        fits = {h: (ahead - h).abs() <= round(0.1 * h) for h in horizons}
        wanted = inputs.concerts[np.logical_or.reduce(list(fits.values())) & (inputs.concerts["status"] == "on_sale")]
        wanted = wanted[(wanted["show_date"] <= sold_to) & wanted["concert_id"].isin(finals.index)]
        finished = (inputs.concerts["status"] == "completed").sum()
        if wanted.empty or finished < MIN_FINISHED:
            continue
        said = {"ours": _ours(inputs, day, wanted, options), **_peers(inputs, day, wanted)}
        for model, forecasts in said.items():
            for concert, quantiles in forecasts.items():
                for horizon in (h for h in horizons if fits[h][wanted.index[wanted["concert_id"] == concert][0]]):
                    rows.append(_row(model, horizon, quantiles, finals.loc[[concert]].iloc[0]))  # noqa: PERF401
        print(f"{day.date()}: {len(wanted)} concerts, {finished} finished", flush=True)
    return pd.DataFrame(rows)


def summary(rows: pd.DataFrame) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return WAPE, bias, CRPS, coverage, Brier score and n per horizon and model."""
    result: dict[str, dict[str, dict[str, float | None]]] = {}
    for (horizon, model), part in rows.groupby(["horizon", "model"]):
        total = part["actual"].sum()
        figures = {
            "wape": part["error"].abs().sum() / total,
            "bias": part["error"].sum() / total,
            "crps": part["pinball"].mean() / part["actual"].mean(),
            "coverage_80": part["covered"].mean(),
            "brier": part["brier"].mean(),
            "n": float(len(part)),
        }
        cleaned = {name: None if np.isnan(value) else round(float(value), 4) for name, value in figures.items()}
        result.setdefault(str(horizon), {})[str(model)] = cleaned
    return result


def _ours(
    inputs: ForecastInputs, day: pd.Timestamp, wanted: pd.DataFrame, options: ForecastOptions
) -> dict[str, Quantiles]:
    outlook = forecast(inputs, day.date(), options=options, concert_ids=list(wanted["concert_id"])).outlook
    columns = ["final_p10", "final_p50", "final_p90", "sell_out_probability"]
    return {row[0]: tuple(row[1:]) for row in outlook[["concert_id", *columns]].itertuples(index=False)}


def _peers(inputs: ForecastInputs, day: pd.Timestamp, wanted: pd.DataFrame) -> dict[str, dict[str, Quantiles]]:
    net = inputs.sales.assign(net=inputs.sales["tickets_sold"] - inputs.sales["tickets_refunded"])
    ids = wanted["concert_id"].tolist()
    daily = {key: part.set_index("sales_date")["net"] for key, part in net.groupby("concert_id")}
    series = []
    for concert, start in zip(ids, wanted["on_sale_date"], strict=True):
        seen = daily.get(concert, pd.Series(dtype=float))
        series.append(seen.reindex(pd.date_range(min([start, *seen.index]), day), fill_value=0.0))
    ahead = [(show - day).days for show in wanted["show_date"]]
    now = np.array([values.sum() for values in series])
    capacity = wanted["capacity"].to_numpy(dtype=float)
    limit = np.where(capacity > 0, np.maximum(capacity, now), np.inf)
    peers = {
        "prophet_linear": _prophet(series, ahead, "linear"),
        "prophet_flat": _prophet(series, ahead, "flat"),
        "prophet_logistic": _prophet(series, ahead, "logistic", np.where(capacity > 0, capacity, now * 3 + 10)),
        **_pickup(inputs, net, day, ahead, now),
        "seasonal_naive": [
            (np.nan, np.resize(s.to_numpy()[-7:], h).sum(), np.nan) for s, h in zip(series, ahead, strict=True)
        ],
    }
    return {
        name: {
            concert: (*np.clip(np.array(rest) + now[i], 0, limit[i]), np.nan)
            for i, (concert, rest) in enumerate(zip(ids, values, strict=True))
        }
        for name, values in peers.items()
    }


def _prophet(
    series: list[pd.Series], ahead: list[int], growth: str, cap: np.ndarray | None = None
) -> list[tuple[float, float, float]]:
    """Prophet as it comes, weekly seasonality only; logistic on cumulative sales. Remaining p10, p50, p90."""
    days = [s.index.to_numpy(dtype="datetime64[D]").astype(np.int64) for s in series]
    future = [d[-1] + 1 + np.arange(h) for d, h in zip(days, ahead, strict=True)]
    values = [s.cumsum() if growth == "logistic" else s for s in series]
    offsets = np.concatenate([[0], np.cumsum([len(d) for d in days])])
    later = np.concatenate([[0], np.cumsum(ahead)])
    caps = later_caps = None
    if cap is not None:
        top = np.maximum(cap, [v.max() + 1 for v in values])
        caps, later_caps = np.repeat(top, np.diff(offsets)), np.repeat(top, ahead)
    spec = ProphetSpec(growth, seasonalities=WEEK)  # pyright: ignore[reportArgumentType]
    fitted = fit(spec, SeriesBatch(offsets, np.concatenate(days), np.concatenate(values).astype(float), cap=caps))
    said = predict(fitted, SeriesBatch(later, np.concatenate(future), cap=later_caps), (0.1, 0.9))
    result = []
    for i, s in enumerate(series):
        part = slice(later[i], later[i + 1])
        if growth == "logistic":
            low, middle, high = said.quantiles[part][-1, 0], said.mean[part][-1], said.quantiles[part][-1, 1]
            result.append((low - s.sum(), max(middle - s.sum(), 0.0), high - s.sum()))
        else:
            middle = np.maximum(said.mean[part], 0).sum()
            spread = Z80 * np.sqrt((said.sd[part] ** 2).sum())
            result.append((middle - spread, middle, middle + spread))
    return result


def _pickup(
    inputs: ForecastInputs, net: pd.DataFrame, day: pd.Timestamp, ahead: list[int], now: np.ndarray
) -> dict[str, list[tuple[float, float, float]]]:
    """Additive and multiplicative pick-up of all finished concerts."""
    done = inputs.concerts[inputs.concerts["show_date"] < day][["concert_id", "show_date"]]
    joined = net.merge(done, on="concert_id")
    left = (joined["show_date"] - joined["sales_date"]).dt.days
    final = joined[left >= 0].groupby("concert_id")["net"].sum().reindex(done["concert_id"], fill_value=0.0)
    additive, multiplicative = [], []
    for horizon, sold in zip(ahead, now, strict=True):
        then = joined[left >= horizon].groupby("concert_id")["net"].sum().reindex(final.index, fill_value=0.0)
        gain = (final - then).to_numpy()
        additive.append((np.quantile(gain, 0.1), gain.mean(), np.quantile(gain, 0.9)))
        ratio = (final[then > 0] / then[then > 0]).to_numpy()
        middle = final.sum() / max(then.sum(), 1.0)
        low, high = np.quantile(ratio, [0.1, 0.9]) if len(ratio) else (middle, middle)
        multiplicative.append((sold * (low - 1), sold * (middle - 1), sold * (high - 1)))
    return {"pickup_additive": additive, "pickup_multiplicative": multiplicative}


def _row(model: str, horizon: int, said: Quantiles, final: pd.Series) -> dict[str, object]:
    low, middle, high, chance = said
    actual = float(final["net"])
    pinball = [
        max(level * (actual - q), (level - 1) * (actual - q))
        for level, q in zip((0.1, 0.5, 0.9), (low, middle, high), strict=True)
    ]
    return {
        "model": model,
        "horizon": horizon,
        "actual": actual,
        "error": middle - actual,
        "pinball": 2 * float(np.mean(pinball)),
        "covered": np.nan if np.isnan(low) else float(low - 0.5 <= actual <= high + 0.5),
        "brier": (chance - float(final["sold_out"])) ** 2,
    }


def _finals(source: Source) -> pd.DataFrame:
    joined = source.sales.merge(source.concerts[["concert_id", "show_date", "capacity"]], on="concert_id")
    joined = joined[joined["sales_date"] <= joined["show_date"]].sort_values(["concert_id", "sales_date"])
    joined["net"] = joined["tickets_sold"] - joined["tickets_refunded"]
    joined["running"] = joined.groupby("concert_id")["net"].cumsum()
    grouped = joined.groupby("concert_id")
    final = pd.DataFrame({"net": grouped["net"].sum().clip(lower=0)})
    final["sold_out"] = grouped["running"].max() >= grouped["capacity"].first()
    return final


def _read(directory: Path, name: str) -> pd.DataFrame:
    files = sorted([*directory.glob(f"{name}*.parquet"), *directory.glob(f"{name}/**/*.parquet")])
    if not files:
        raise FileNotFoundError(f"no {name}*.parquet in {directory}")
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)


def _day(stamps: pd.Series) -> pd.Series:
    return pd.to_datetime(stamps, utc=True, errors="coerce").dt.tz_localize(None).dt.normalize()


def main() -> None:
    """Run the backtest and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--horizons", type=int, nargs="+", default=[60, 30, 14, 7, 1])
    parser.add_argument("--origins", type=int, default=24)
    parser.add_argument("--engine", choices=["map", "stan", "none"], default="map")
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    arguments = parser.parse_args()
    source = read_source(arguments.source)
    rows = backtest(source, arguments.horizons, arguments.origins, ForecastOptions(engine=arguments.engine))
    if rows.empty:
        raise SystemExit("no origin has enough finished concerts")
    figures = summary(rows)
    if not arguments.json:
        for horizon in arguments.horizons:
            print(f"\n{horizon} days before the show")
            print(pd.DataFrame(figures.get(str(horizon), {})).T.to_string())
    print(json.dumps({"source": str(arguments.source), "events": len(source.concerts), "horizons": figures}))


if __name__ == "__main__":
    main()
