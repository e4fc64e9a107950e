"""Plain peers of the accuracy benchmark: each gives the tickets still to come per concert, as of one day."""

# The peers are installed for benchmarks alone (requirements-bench.lock).
# pyright: reportMissingImports=false

from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pandas as pd
from statsforecast import StatsForecast
from statsforecast.models import AutoETS, AutoTheta, HistoricAverage

from mmt_assets.forecasting.inputs import ForecastInputs
from mmt_assets.forecasting.pickup import pickup_remaining
from mmt_assets.forecasting.prophet_map import ProphetSpec, Seasonality, SeriesBatch, fit, predict
from mmt_assets.forecasting.prophet_map.specification import Growth

Floats = npt.NDArray[np.float64]

WEEK = (Seasonality("weekly", 7, 3),)
LIGHTGBM_HORIZONS = (1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 75)
LIGHTGBM_ROUNDS = 120
LIGHTGBM_PARAMETERS = {
    "objective": "l1",
    "learning_rate": 0.06,
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "verbose": -1,
    "num_threads": 1,
    "seed": 1,
    "deterministic": True,
}
SERIES_DAYS = 90


@dataclass(frozen=True)
class Targets:
    """n concerts to forecast: rows of the concerts frame, days to show, net tickets now, daily net tickets."""

    concerts: pd.DataFrame
    days_to_show: npt.NDArray[np.int64]
    net: Floats
    series: list[pd.Series]


def peers(inputs: ForecastInputs, day: pd.Timestamp, wanted: pd.DataFrame) -> tuple[Targets, dict[str, Floats]]:
    """Return the targets and the remaining net tickets per peer, shape (n,)."""
    sales = inputs.sales.assign(net=inputs.sales["tickets_sold"] - inputs.sales["tickets_refunded"])
    daily = {key: part.set_index("sales_date")["net"] for key, part in sales.groupby("concert_id")}
    series = []
    for concert, start in zip(wanted["concert_id"], wanted["on_sale_date"], strict=True):
        seen = daily.get(concert, pd.Series(dtype=float))
        series.append(seen.reindex(pd.date_range(min([start, *seen.index]), day), fill_value=0.0))
    ahead = np.asarray((wanted["show_date"] - day).dt.days, dtype=np.int64)
    targets = Targets(wanted, ahead, np.array([values.sum() for values in series]), series)
    capacity = wanted["capacity"].to_numpy(dtype=float)
    cap = np.where(capacity > 0, capacity, targets.net * 3 + 10)
    naive = np.array([np.resize(s.to_numpy()[-7:], h).sum() for s, h in zip(series, ahead, strict=True)], dtype=float)
    said = {
        "prophet_linear": _prophet(targets, "linear"),
        "prophet_flat": _prophet(targets, "flat"),
        "prophet_logistic": _prophet(targets, "logistic", cap),
        **_pickup(inputs, sales, day, targets),
        "seasonal_naive": naive,
        **_statsforecast(targets),
        "lightgbm": _lightgbm(inputs, sales, day, wanted),
    }
    # AutoETS ends without a number on some bursts.
    return targets, {name: np.where(np.isfinite(values), values, naive) for name, values in said.items()}


def _prophet(targets: Targets, growth: Growth, cap: Floats | None = None) -> Floats:
    """Prophet as it comes, weekly seasonality only; logistic on cumulative sales up to the capacity."""
    series, ahead = targets.series, targets.days_to_show
    days = [s.index.to_numpy(dtype="datetime64[D]").astype(np.int64) for s in series]
    future = [d[-1] + 1 + np.arange(h) for d, h in zip(days, ahead, strict=True)]
    values = [s.cumsum() if growth == "logistic" else s for s in series]
    offsets = np.concatenate([[0], np.cumsum([len(d) for d in days])])
    later = np.concatenate([[0], np.cumsum(ahead)])
    caps = later_caps = None
    if cap is not None:
        top = np.maximum(cap, [v.max() + 1 for v in values])
        caps, later_caps = np.repeat(top, np.diff(offsets)), np.repeat(top, ahead)
    spec = ProphetSpec(growth, seasonalities=WEEK)
    fitted = fit(spec, SeriesBatch(offsets, np.concatenate(days), np.concatenate(values).astype(float), cap=caps))
    said = predict(fitted, SeriesBatch(later, np.concatenate(future), cap=later_caps), (0.1, 0.9)).mean
    if growth == "logistic":
        return np.maximum(said[later[1:] - 1] - targets.net, 0.0)
    return np.add.reduceat(np.maximum(said, 0.0), later[:-1])


def _statsforecast(targets: Targets) -> dict[str, Floats]:
    """AutoETS and AutoTheta with a week as season, on the last days of each concert."""
    frame = pd.concat(
        [
            pd.DataFrame({"unique_id": i, "ds": s.index[-SERIES_DAYS:], "y": s.to_numpy()[-SERIES_DAYS:].astype(float)})
            for i, s in enumerate(targets.series)
        ],
        ignore_index=True,
    )
    models = [AutoETS(season_length=7), AutoTheta(season_length=7)]
    engine = StatsForecast(models=models, freq="D", n_jobs=1, fallback_model=HistoricAverage())
    said: Any = engine.forecast(df=frame, h=int(targets.days_to_show.max()))
    said["ahead"] = said.groupby("unique_id").cumcount()
    said = said[said["ahead"] < targets.days_to_show[said["unique_id"].to_numpy(dtype=int)]]
    totals = said.assign(AutoETS=said["AutoETS"].clip(lower=0), AutoTheta=said["AutoTheta"].clip(lower=0))
    totals = totals.groupby("unique_id")[["AutoETS", "AutoTheta"]].sum()
    return {"auto_ets": totals["AutoETS"].to_numpy(), "auto_theta": totals["AutoTheta"].to_numpy()}


def _pickup(inputs: ForecastInputs, sales: pd.DataFrame, day: pd.Timestamp, targets: Targets) -> dict[str, Floats]:
    """Additive and multiplicative pick-up of all finished concerts."""
    wanted = pd.DataFrame({"days_to_show": targets.days_to_show, "sold": targets.net}).assign(as_of_date=day)
    said = pickup_remaining(inputs.concerts, sales, wanted)
    return {f"pickup_{name}": said[name].to_numpy() for name in ("additive", "multiplicative")}


def _lightgbm(inputs: ForecastInputs, sales: pd.DataFrame, day: pd.Timestamp, wanted: pd.DataFrame) -> Floats:
    """Gradient-boosted trees of the tickets to come on how each finished concert stood at several days to show."""
    done = inputs.concerts[inputs.concerts["show_date"] < day]
    fans = inputs.demand.groupby(["artist", "country", "city"], as_index=False)["fans_count"].sum()
    codes = {name: {label: k for k, label in enumerate(sorted(done[name].dropna().unique()))} for name in _LABELS}
    cumulative = _cumulative(sales, pd.concat([done, wanted]))
    parts, targets, sizes = [], [], []
    final = _at(cumulative, done, np.zeros(len(done), dtype=np.int64), "net")
    gross = _at(cumulative, done, np.zeros(len(done), dtype=np.int64), "tickets_sold")
    for horizon in LIGHTGBM_HORIZONS:
        on_sale = ((done["show_date"] - done["on_sale_date"]).dt.days >= horizon).to_numpy()
        some = done[on_sale]
        features = _features(cumulative, some, np.full(len(some), horizon), fans, codes)
        parts.append(features)
        targets.append(final[on_sale] - features[:, 2])
        sizes.append(gross[on_sale])
    weight = 1 / np.sqrt(np.concatenate(sizes) + 20)
    data = lightgbm.Dataset(np.concatenate(parts), np.concatenate(targets), weight=weight)
    model = lightgbm.train(LIGHTGBM_PARAMETERS, data, LIGHTGBM_ROUNDS)
    ahead = np.asarray((wanted["show_date"] - day).dt.days, dtype=np.int64)
    return np.asarray(model.predict(_features(cumulative, wanted, ahead, fans, codes)), dtype=np.float64)


_LABELS = ("artist", "country", "venue")


def _features(
    cumulative: dict[str, pd.DataFrame],
    concerts: pd.DataFrame,
    days_to_show: npt.NDArray[np.int64],
    fans: pd.Series,
    codes: dict[str, dict[object, int]],
) -> Floats:
    gross = _at(cumulative, concerts, days_to_show, "tickets_sold")
    sold = [gross - _at(cumulative, concerts, days_to_show + days, "tickets_sold") for days in (3, 7, 28)]
    demand = concerts[["artist", "country", "city"]].merge(fans, how="left")["fans_count"]
    return np.column_stack(
        [
            days_to_show,
            (concerts["show_date"] - concerts["on_sale_date"]).dt.days.to_numpy() - days_to_show,
            _at(cumulative, concerts, days_to_show, "net"),
            gross,
            *sold,
            concerts["capacity"].to_numpy(dtype=float),
            demand.to_numpy(dtype=float),
            concerts["show_date"].dt.dayofweek,
            concerts["show_date"].dt.month,
            *(concerts[name].map(codes[name]).to_numpy(dtype=float) for name in _LABELS),
        ]
    ).astype(np.float64)


def _cumulative(sales: pd.DataFrame, concerts: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return per quantity a frame of concerts x days to show (0 to 400), summed from the first sale on."""
    joined = sales.merge(concerts[["concert_id", "show_date"]], on="concert_id")
    left = (joined["show_date"] - joined["sales_date"]).dt.days.clip(upper=400)
    joined = joined.assign(left=left)[left >= 0]
    result = {}
    for name in ("net", "tickets_sold"):
        wide = joined.pivot_table(index="concert_id", columns="left", values=name, aggfunc="sum", fill_value=0.0)
        wide = wide.reindex(index=concerts["concert_id"], columns=range(401), fill_value=0.0)
        result[name] = wide.iloc[:, ::-1].cumsum(axis=1).iloc[:, ::-1]
    return result


def _at(cumulative: dict[str, pd.DataFrame], concerts: pd.DataFrame, days: npt.NDArray[np.int64], name: str) -> Floats:
    frame = cumulative[name]
    rows = frame.index.get_indexer(pd.Index(concerts["concert_id"]))
    return frame.to_numpy(dtype=np.float64)[rows, np.minimum(days, 400)]
