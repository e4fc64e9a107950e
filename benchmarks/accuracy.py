"""Rolling-origin accuracy of the forecast against plain peers.

python -m benchmarks.accuracy --source DIR|hotel_rates|sample|SHAPE [--json] [--origins 40] [--ablation]

Every origin sees only what was known at its end: an order counts as paid until its `status_at`, statuses are
derived, the pool holds only concerts that had finished. Errors are those of the net total at show time, forecast and
outcome alike up to the capacity or what was sold at the origin, whichever is more: what an oversold house sells beyond
it no model may say. A horizon of h takes concerts within 10% of h days (at least 1 day) before their show. CRPS is
twice the mean pinball loss at the 19 levels 0.05 to 0.95 over the mean total, Brier that of a sell-out. A peer that
ends without a number for a concert takes the seasonal naive's. Every peer gets the forecast's own kind of conformal
intervals, from its own errors at earlier origins, past bias included. Standard
errors are those of paired differences, origins as clusters. The last line printed is one JSON object.
"""

import argparse
import json

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.accuracy_peers import peers
from benchmarks.accuracy_shapes import SHAPES
from benchmarks.accuracy_sources import Source, finals, open_source
from mmt_assets.forecasting.blend import recency
from mmt_assets.forecasting.inputs import ForecastInputs, ForecastOptions, epoch_day
from mmt_assets.forecasting.intervals import ErrorPool, movement, quantiles, scenarios
from mmt_assets.forecasting.model import forecast
from mmt_assets.forecasting.outlook import FINAL_LEVELS

Floats = npt.NDArray[np.float64]

LEVELS = np.array(FINAL_LEVELS)
MIN_FINISHED = 60
FIRST_SCORED = 0.35
"""Share of the concerts, by show date, before the first scored origin; earlier origins only calibrate the peers."""
CALIBRATION_DAYS = 10
MIN_CALIBRATION = 40


def backtest(source: Source, horizons: list[int], origins: int, variants: dict[str, ForecastOptions]) -> pd.DataFrame:
    """Return one row per model, horizon and forecast concert."""
    final = finals(source)
    shows = source.concerts["show_date"].sort_values()
    sold_to = source.sales["sales_date"].max()
    begin, last = shows.iloc[int(len(shows) * FIRST_SCORED)], min(shows.iloc[-1], sold_to) - pd.Timedelta(days=1)
    scored = list(pd.date_range(begin, last, periods=origins).normalize())
    step = scored[1] - scored[0]
    warm = [begin - step * k for k in range(1, 60) if (shows < begin - step * k).sum() >= MIN_FINISHED][::-1]
    past: list[pd.DataFrame] = []
    rows: list[pd.DataFrame] = []
    for day in [*warm, *scored]:
        inputs = source.as_of(day)
        ahead = (inputs.concerts["show_date"] - day).dt.days
        fits = {h: (ahead - h).abs() <= max(round(0.1 * h), 1) for h in horizons}
        near = np.logical_or.reduce([*fits.values(), ahead <= CALIBRATION_DAYS]) & (ahead > 0)
        wanted = inputs.concerts[near & (inputs.concerts["status"] == "on_sale")]
        wanted = wanted[(wanted["show_date"] <= sold_to) & wanted["concert_id"].isin(final.index)]
        if wanted.empty or (inputs.concerts["status"] == "completed").sum() < MIN_FINISHED:
            continue
        said = _peer_rows(inputs, day, wanted, final)
        if day in scored:
            ours = {name: _ours(inputs, day, wanted, options) for name, options in variants.items()}
            for h in horizons:
                chosen = wanted.index[fits[h][wanted.index]]
                rows += _scores(day, h, wanted.loc[chosen], ours, said, pd.concat([*past, said.iloc[:0]]), final)
        past.append(said)
    if not rows:
        return pd.DataFrame()
    joined = pd.concat(rows, ignore_index=True)
    return joined.assign(segment=joined["concert_id"].map(_segments(source)))


def _peer_rows(inputs: ForecastInputs, day: pd.Timestamp, wanted: pd.DataFrame, final: pd.DataFrame) -> pd.DataFrame:
    """Return the peers' forecasts of an origin: one row per peer and concert, with the outcome beside it."""
    targets, said = peers(inputs, day, wanted)
    outcome = final.loc[wanted["concert_id"]]
    frames = []
    for model, remaining in said.items():
        point = np.maximum(targets.net + remaining, 0.0)
        unit = movement(np.maximum(remaining, 0.0), point, targets.net)
        frames.append(
            pd.DataFrame(
                {
                    "model": model,
                    "concert_id": wanted["concert_id"].to_numpy(),
                    "show": wanted["show_date"].to_numpy(dtype="datetime64[D]").astype(np.int64),
                    "days_to_show": targets.days_to_show,
                    "net": targets.net,
                    "point": point,
                    "unit": unit,
                    "error": (outcome["net"].to_numpy() - point) / unit,
                    "censored": outcome["sold_out"].to_numpy(dtype=float),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _ours(
    inputs: ForecastInputs, day: pd.Timestamp, wanted: pd.DataFrame, options: ForecastOptions
) -> dict[str, tuple[Floats, float]]:
    """Return per concert the quantiles of the final total and the probability of a sell-out."""
    result = forecast(inputs, day.date(), options=options, concert_ids=list(wanted["concert_id"]))
    chance = result.outlook.set_index("concert_id")["sell_out_probability"]
    said = result.final_quantiles.groupby("concert_id")["tickets"].apply(np.array)
    return {str(concert): (said[concert], float(chance[concert])) for concert in chance.index}


def _scores(
    day: pd.Timestamp,
    horizon: int,
    concerts: pd.DataFrame,
    ours: dict[str, dict[str, tuple[Floats, float]]],
    said: pd.DataFrame,
    past: pd.DataFrame,
    final: pd.DataFrame,
) -> list[pd.DataFrame]:
    if concerts.empty:
        return []
    now = epoch_day(day.date())
    capacity = final["capacity"].to_dict()
    rows, limits = [], {}
    pools = {model: _pool(part[part["show"] < now], now) for model, part in past.groupby("model")}
    forecasts = said[said["concert_id"].isin(concerts["concert_id"])]
    for row in forecasts.to_dict("records"):
        concert_id, net, unit = row["concert_id"], row["net"], row["unit"]
        limit = max(capacity[concert_id], net) if capacity[concert_id] > 0 else np.inf
        point = min(row["point"], limit)
        pool = pools.get(row["model"])
        values, chance = np.full(len(LEVELS), np.nan), np.nan
        if pool is not None:
            error, _, mass = scenarios(pool, float(np.log(unit)), int(row["days_to_show"]), centred=False)
            wanted = np.maximum(row["point"] + unit * error, 0.0)
            values = quantiles(np.minimum(wanted, limit), mass, FINAL_LEVELS)
            chance = 1.0 if net >= limit else float(mass[wanted >= limit].sum())
        rows.append((row["model"], concert_id, point, values, chance))
        limits[concert_id] = limit
    for name, answers in ours.items():
        for concert in concerts["concert_id"]:
            values, chance = answers[str(concert)]
            rows.append((name, concert, values[len(LEVELS) // 2], values, chance))
    return [
        pd.DataFrame(
            [
                {
                    "origin": day,
                    "horizon": horizon,
                    "model": model,
                    "concert_id": concert,
                    **_row(point, values, chance, final.loc[concert], limits[concert]),
                }
                for model, concert, point, values, chance in rows
            ]
        )
    ]


def _row(point: float, values: Floats, chance: float, outcome: pd.Series, limit: float) -> dict[str, float]:
    actual = min(float(outcome["net"]), limit)
    missed = actual - values
    known = not np.isnan(values).any() and outcome["capacity"] > 0
    return {
        "actual": actual,
        "error": point - actual,
        "crps": 2 * float(np.maximum(LEVELS * missed, (LEVELS - 1) * missed).mean()),
        "covered": np.nan if np.isnan(values).any() else float(values[1] - 0.5 <= actual <= values[-2] + 0.5),
        "brier": (chance - float(outcome["sold_out"])) ** 2 if known else np.nan,
        "sold_out": float(outcome["sold_out"]),
    }


def _pool(past: pd.DataFrame, now: int) -> ErrorPool | None:
    if len(past) < MIN_CALIBRATION:
        return None
    error = past["error"].to_numpy()
    show = past["show"].to_numpy(dtype=np.int64)
    return ErrorPool(
        error=error,
        gross_error=error,
        censored=past["censored"].to_numpy(),
        log_movement=np.log(past["unit"].to_numpy()),
        days_to_show=past["days_to_show"].to_numpy(dtype=np.int64),
        recent=recency(show, now),
        spread=1.0,
        growth=0.0,
    )


def _segments(source: Source) -> dict[str, str]:
    """Country where there are several, else whether the show is at a weekend."""
    concerts = source.concerts
    labels = concerts["country"].astype(str)
    if len(labels.unique()) == 1:
        labels = np.where(concerts["show_date"].dt.dayofweek >= 4, "Friday to Sunday", "Monday to Thursday")  # noqa: PLR2004
    return dict(zip(concerts["concert_id"], labels, strict=True))


def summary(rows: pd.DataFrame) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return WAPE, bias, CRPS, coverage, Brier score and n per horizon and model."""
    result: dict[str, dict[str, dict[str, float | None]]] = {}
    for (horizon, model), part in rows.groupby(["horizon", "model"]):
        total = part["actual"].sum()
        figures = {
            "wape": part["error"].abs().sum() / total,
            "bias": part["error"].sum() / total,
            "crps": part["crps"].mean() / part["actual"].mean(),
            "coverage_80": part["covered"].mean(),
            "brier": part["brier"].mean(),
            "n": float(len(part)),
        }
        cleaned = {name: None if np.isnan(value) else round(float(value), 4) for name, value in figures.items()}
        result.setdefault(str(horizon), {})[str(model)] = cleaned
    return result


def paired(rows: pd.DataFrame, horizon: int) -> pd.DataFrame:
    """Return ours minus each peer in WAPE and CRPS with standard errors, origins as clusters."""
    some = rows[rows["horizon"] == horizon]
    sums = some.assign(error=some["error"].abs()).groupby(["model", "origin"])[["error", "crps"]].sum()
    total = some.loc[some["model"] == "ours", "actual"].sum()
    result = {}
    for model in sorted(set(some["model"]) - {"ours"}):
        difference = (sums.loc["ours"] - sums.loc[model]) / total
        spread = difference.std(ddof=1) * np.sqrt(len(difference))
        result[model] = {
            "wape_difference": difference["error"].sum(),
            "wape_se": spread["error"],
            "crps_difference": difference["crps"].sum(),
            "crps_se": spread["crps"],
        }
    return pd.DataFrame(result).T


def against_best_peers(figures: dict[str, dict[str, dict[str, float | None]]]) -> pd.DataFrame:
    """Return per horizon and figure the peer that is best in hindsight, and ours relative to it; negative is better."""
    result = {}
    for horizon, models in figures.items():
        row: dict[str, object] = {"n": models["ours"]["n"], "coverage_80": models["ours"]["coverage_80"]}
        for name in ("wape", "crps"):
            ours = models["ours"][name]
            others = {
                model: value for model, said in models.items() if model != "ours" and (value := said[name]) is not None
            }
            if ours is not None and others:
                best = min(others, key=lambda model: others[model])
                # A peer without any error is infinitely better, whatever ours is.
                change = ours / others[best] - 1 if others[best] else np.inf
                row |= {name: ours, f"{name}_peer": best, f"{name}_change": change}
        result[int(horizon)] = row
    return pd.DataFrame(result).T.sort_index(ascending=False)


def by_segment(rows: pd.DataFrame) -> pd.DataFrame:
    """Return WAPE per segment and model over all horizons."""
    sums = rows.assign(error=rows["error"].abs()).groupby(["segment", "model"])[["error", "actual"]].sum()
    table = (sums["error"] / sums["actual"]).unstack("model")  # noqa: PD010
    return table.assign(n=rows[rows["model"] == "ours"].groupby("segment").size())


def by_horizon(rows: pd.DataFrame) -> pd.DataFrame:
    """Return WAPE and CRPS per model and horizon."""
    figures = summary(rows)
    columns = {
        (name, horizon): {model: values[name] for model, values in figures[horizon].items()}
        for name in ("wape", "crps")
        for horizon in figures
    }
    return pd.DataFrame(columns)


def print_tables(rows: pd.DataFrame, horizons: list[int]) -> None:
    """Print all figures per horizon, WAPE by segment, and both halves of the origins."""
    pd.set_option("display.width", 200)
    figures = summary(rows)
    for horizon in horizons:
        some = rows[(rows["horizon"] == horizon) & (rows["model"] == "ours")]
        if some.empty:
            continue
        print(f"\n{horizon} days before the show: {len(some)} forecasts, {some['sold_out'].sum():.0f} sold out")
        table = pd.DataFrame(figures[str(horizon)]).T.join(paired(rows, horizon))
        print(table.sort_values("wape").round(4).to_string())
    best = against_best_peers(figures)
    print("\nOurs against the best peer of each row")
    print(best.to_string(float_format="{:.4f}".format))
    means = {name: best[name].astype(float).mean() for name in ("wape_change", "crps_change") if name in best}
    print("on average over the horizons: " + ", ".join(f"{name} {value:+.1%}" for name, value in means.items()))
    print("\nWAPE by segment, all horizons")
    print(by_segment(rows).round(3).T.to_string())
    later = rows["origin"] >= sorted(rows["origin"].unique())[rows["origin"].nunique() // 2]
    for name, part in (("first", rows[~later]), ("second", rows[later])):
        print(f"\nWAPE and CRPS, {name} half of the origins")
        print(by_horizon(part).round(4).to_string())


def main() -> None:
    """Run the backtest and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help=f"a directory, hotel_rates, sample, {', '.join(SHAPES)}")
    parser.add_argument("--horizons", type=int, nargs="+", default=[60, 30, 14, 7, 1])
    parser.add_argument("--origins", type=int, default=40)
    parser.add_argument("--ablation", action="store_true", help="also the forecast without Prophet")
    parser.add_argument("--engine", choices=["map", "stan", "none"], default="map")
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    arguments = parser.parse_args()
    source = open_source(arguments.source)
    variants = {"ours": ForecastOptions(engine=arguments.engine)}
    if arguments.ablation:
        variants["ours_without_prophet"] = ForecastOptions(engine="none")
    rows = backtest(source, arguments.horizons, arguments.origins, variants)
    if rows.empty:
        raise SystemExit("no origin has enough finished concerts")
    figures = summary(rows)
    if not arguments.json:
        print_tables(rows, arguments.horizons)
    print(json.dumps({"source": arguments.source, "events": len(source.concerts), "horizons": figures}))


if __name__ == "__main__":
    main()
