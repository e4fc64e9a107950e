"""Speed of the batch solver against stock Prophet and other batch forecasters: python -m benchmarks.speed --json.

Arrays (for peers: frames) in, 30 days of quantiles out. All engines run on the same number of workers, warm, one
after the other within each repetition, on series with their own dates from the same generator. An engine is timed
on as many series as it needs for a stable figure; ratios are taken per series and repetition.
"""

import argparse
import json
import logging
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd
from prophet import Prophet

from mmt_assets.forecasting.prophet_map import (
    ProphetSpec,
    Regressor,
    Seasonality,
    SeriesBatch,
    compile_kernels,
    fit,
    log_posterior,
    predict,
)
from mmt_assets.forecasting.prophet_map.stock import fit_stan, series_frame, unfitted_prophet

HORIZON = 30
STOCK_SAMPLES = (1000, 200, 0)
_WEEKLY = Seasonality("weekly", 7, 3)
_YEARLY = Seasonality("yearly", 365.25, 10)
_REGRESSORS = tuple(Regressor(name) for name in ("on_sale", "show", "news"))
SETS = {
    "flat_regressors": ProphetSpec("flat", (_WEEKLY,), _REGRESSORS),
    "linear_weekly": ProphetSpec("linear", (_WEEKLY,)),
    "linear_regressors": ProphetSpec("linear", (_WEEKLY,), _REGRESSORS),
    "logistic": ProphetSpec("logistic", (_WEEKLY,)),
    "yearly": ProphetSpec("linear", (_YEARLY, _WEEKLY)),
}

Run = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """Series of one set with the days to forecast."""

    spec: ProphetSpec
    history: SeriesBatch
    future: SeriesBatch


@dataclass(frozen=True)
class Size:
    """How much is run."""

    repetitions: int
    ours: int
    stock: int
    batched: int  # for peers that gain from many series in one call
    checked: int
    scale: tuple[int, ...]


FULL = Size(repetitions=5, ours=2_000, stock=24, batched=200, checked=100, scale=(1_000, 10_000, 50_000))
SMALL = Size(repetitions=2, ours=2_000, stock=4, batched=12, checked=12, scale=(50_000,))
QUICK = Size(repetitions=2, ours=200, stock=4, batched=20, checked=6, scale=(1_000,))


def make_case(name: str, n: int, seed: int, days: int | None = None) -> Case:
    """Simulate n series of one set, each with its own first day; the last 30 days are the ones to forecast."""
    spec, rng = SETS[name], np.random.default_rng(seed)
    size = (days or (730 if name == "yearly" else 120)) + HORIZON
    age = np.arange(size)
    day = rng.integers(19_000, 19_400, n)[:, None] + age
    week = 1 + 0.3 * np.isin(day % 7, (1, 2)) - 0.15 * (day % 7 == 5)  # noqa: PLR2004
    shape = 5 * np.exp(-age / 4) + 1 + 2 * np.exp((age - size) / 8)
    values = rng.poisson(rng.gamma(5, rng.uniform(3, 40, (n, 1)) * shape * week / 5)).astype(float)
    cap = np.ones((n, size))
    if name == "logistic":
        middle, width = rng.uniform(30, 90, (n, 1)), rng.uniform(8, 25, (n, 1))
        total = rng.integers(300, 5000, (n, 1)).astype(float)
        path = total / (1 + np.exp((middle - age) / width))
        values = np.cumsum(rng.poisson(np.diff(path, prepend=0) * week), axis=1).astype(float)
        cap *= total * rng.uniform(1.3, 2, (n, 1))
    elif name == "yearly":
        season = 1 + 0.3 * np.sin(2 * np.pi * age / 365.25 + rng.uniform(0, 6, (n, 1)))
        values = 50 * season * week * (1 + 0.0005 * age) + rng.normal(0, 5, (n, size))
    news = ((age > 40) & (age < 44)) * rng.uniform(0.5, 2, (n, 1))  # noqa: PLR2004
    first, last = np.broadcast_to(np.exp(-age / 4), (n, size)), np.broadcast_to(np.exp((age - size) / 8), (n, size))
    regressors = np.stack([first, last, news], axis=2) if spec.regressors else None

    def cut(part: slice, *, known: bool) -> SeriesBatch:
        offsets = np.arange(n + 1) * age[part].size
        extra = None if regressors is None else regressors[:, part].reshape(-1, 3)
        capacity = cap[:, part].ravel() if name == "logistic" else None
        return SeriesBatch(offsets, day[:, part].ravel(), values[:, part].ravel() if known else None, capacity, extra)

    return Case(spec, cut(slice(-HORIZON), known=True), cut(slice(-HORIZON, None), known=False))


def run_ours(case: Case, workers: int) -> None:
    """Fit and forecast with the batch solver."""
    predict(fit(case.spec, case.history, workers=workers), case.future, (0.1, 0.5, 0.9), workers=workers)


def quiet() -> None:
    """Silence the line that Prophet's parts log per fit."""
    import_module("cmdstanpy.utils").get_logger()  # sets its own level when first asked for
    for name in ("prophet", "cmdstanpy", "prophet_batch"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _stock_model(spec: ProphetSpec, samples: int, _: object = None) -> Prophet:
    nothing = SeriesBatch(np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64))
    return unfitted_prophet(spec, nothing, 0, uncertainty_samples=samples)


def _stock_one(spec: ProphetSpec, samples: int, frames: tuple[pd.DataFrame, pd.DataFrame]) -> pd.DataFrame:
    return _stock_model(spec, samples).fit(frames[0]).predict(frames[1])


def _frames(case: Case) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    n = range(case.history.n_series)
    return [(series_frame(case.spec, case.history, i), series_frame(case.spec, case.future, i)) for i in n]


def stock_runs(case: Case, pool: ProcessPoolExecutor) -> dict[str, Run]:
    """Stock Prophet per number of uncertainty samples, in a warm pool."""
    frames = _frames(case)

    def run(samples: int) -> object:
        return list(pool.map(partial(_stock_one, case.spec, samples), frames))

    return {f"stock_{samples}": partial(run, samples) for samples in STOCK_SAMPLES}


def _long(frames: list[pd.DataFrame]) -> pd.DataFrame:
    named = [frame.assign(unique_id=f"s{place:05d}") for place, frame in enumerate(frames)]
    return pd.concat(named, ignore_index=True)


def prophet_batch_run(case: Case, workers: int, stack: ExitStack) -> Run:
    """Pool of the package prophet-batch with 1,000 samples.

    Raises:
        ImportError: The package is not installed.
    """
    pool = stack.enter_context(import_module("prophet_batch").Pool(n_jobs=workers))
    history, future = (_long(list(part)) for part in zip(*_frames(case), strict=True))
    make_model = partial(_stock_model, case.spec, 1000)
    return lambda: pool.forecast_many(
        history, futures=future, make_model=make_model, seed=0, include_history=False, history_uncertainty="analytic"
    )


def statsforecast_run(case: Case, workers: int, model: str) -> Run:
    """AutoTheta or AutoETS of the package statsforecast with an 80% interval, weekly season.

    Raises:
        ImportError: The package is not installed.
    """
    engine = import_module("statsforecast").StatsForecast
    kind = getattr(import_module("statsforecast.models"), model)
    history = _long([frame for frame, _ in _frames(case)])[["unique_id", "ds", "y"]]
    return lambda: engine(models=[kind(season_length=7)], freq="D", n_jobs=workers).forecast(
        df=history, h=HORIZON, level=[80]
    )


def batch_runs(case: Case, workers: int, stack: ExitStack) -> dict[str, Run | None]:
    """Peers that take many series in one call; None, with the reason printed, where the package is missing."""
    makers: dict[str, Callable[[], Run]] = {
        "prophet_batch_1000": lambda: prophet_batch_run(case, workers, stack),
        "autotheta": lambda: statsforecast_run(case, workers, "AutoTheta"),
        "autoets": lambda: statsforecast_run(case, workers, "AutoETS"),
    }
    runs: dict[str, Run | None] = {}
    for name, make in makers.items():
        try:
            runs[name] = make()
        except ImportError as error:
            print(f"  {name} not measured: {error}")
            runs[name] = None
    return runs


def _seconds(run: Run) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def measure_set(name: str, size: Size, workers: int, pool: ProcessPoolExecutor) -> dict[str, Any]:
    """Interleaved repetitions of one set."""
    large, small = make_case(name, size.ours, seed=1), make_case(name, size.stock, seed=2)
    ours: list[float] = []
    with ExitStack() as stack:
        stock, batched = stock_runs(small, pool), batch_runs(make_case(name, size.batched, seed=2), workers, stack)
        counts = dict.fromkeys(stock, size.stock) | dict.fromkeys(batched, size.batched)
        runs = stock | batched
        ratios: dict[str, list[float]] = {peer: [] for peer in runs}
        for repetition in range(size.repetitions + 1):  # the first one warms everything up
            own = _seconds(partial(run_ours, large, workers)) / size.ours
            taken = {peer: _seconds(run) / counts[peer] for peer, run in runs.items() if run is not None}
            if repetition:
                ours.append(own)
                for peer, seconds in taken.items():
                    ratios[peer].append(seconds / own)
    ratio = {peer: _spread(values) if values else None for peer, values in ratios.items()}
    result = {"ratio": ratio, "ms_per_series": statistics.median(ours) * 1e3}
    print(f"{name}: {result['ms_per_series']:.4f} ms per series", flush=True)
    for peer, found in ratio.items():
        print(f"  {peer}: " + ("-" if found is None else "{median:.0f}x ({min:.0f} to {max:.0f})".format(**found)))
    return result


def _processor_seconds(run: Run) -> float:
    """Processor time of this process and of the children that it has waited for: Stan is one per fit."""
    before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    run()
    after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    spent = ((new.ru_utime + new.ru_stime, old.ru_utime + old.ru_stime) for new, old in zip(after, before, strict=True))
    return sum(new - old for new, old in spent)


def compare_processor_time(name: str, size: Size) -> dict[str, float]:
    """Processor time per series, which a busy machine changes little: milliseconds of ours, stock Prophet over ours."""
    large, small = make_case(name, size.ours, seed=1), make_case(name, size.stock, seed=2)
    run_ours(large, 1)
    own = _processor_seconds(partial(run_ours, large, 1)) / size.ours
    frames = _frames(small)
    found = {"ms_per_series": own * 1e3}
    for samples in STOCK_SAMPLES:
        seconds = _processor_seconds(lambda samples=samples: [_stock_one(small.spec, samples, f) for f in frames])
        found[f"stock_{samples}"] = seconds / size.stock / own
    print(f"{name}, processor time: " + ", ".join(f"{key} {value:.4g}" for key, value in found.items()), flush=True)
    return found


def compare_log_posteriors(name: str, size: Size, workers: int) -> dict[str, float]:
    """Log posteriors of our estimates minus Stan's: how many are lower, and the lowest difference."""
    case = make_case(name, size.checked if name != "yearly" else max(size.checked // 4, 2), seed=3)
    ours = log_posterior(fit(case.spec, case.history))
    stan = log_posterior(fit_stan(case.spec, case.history, processes=workers))
    margin = 0.01 if name == "logistic" else 1e-6 * np.abs(stan)
    difference = ours - stan
    found = {"n": ours.size, "below_stan": int((difference < -margin).sum()), "worst": float(difference.min())}
    print(f"{name}: {found['below_stan']} of {found['n']} below Stan, worst {found['worst']:.2e}")
    return found


def _scale_in_child(n: int, workers: int) -> dict[str, float]:
    compile_kernels()
    case = make_case("linear_weekly", n, seed=4, days=90)
    begin = time.process_time()
    seconds = _seconds(partial(run_ours, case, workers))
    processor = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    return {"seconds": seconds, "processor_seconds": processor, "peak_mb": peak, "ms_per_series": seconds / n * 1e3}


def measure_scale(n: int, workers: int) -> dict[str, float]:
    """Time and peak memory of n series of 90 days in a fresh process (the data included)."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child:
        found = child.submit(_scale_in_child, n, workers).result()
    print(
        f"{n} series: {found['seconds']:.2f} s, processor {found['processor_seconds']:.2f} s, "
        f"{found['ms_per_series']:.4f} ms each, peak {found['peak_mb']:.0f} MB"
    )
    return found


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures as one last line of JSON")
    parser.add_argument("--small", action="store_true", help="few series of the peers, for a busy machine")
    parser.add_argument("--quick", action="store_true", help="few series of all, to see that it runs")
    parser.add_argument("--workers", type=int, default=2, help="threads of ours, processes of the peers")
    parser.add_argument("--set", action="append", choices=list(SETS), help="only these sets (repeatable)")
    options = parser.parse_args()
    size = QUICK if options.quick else SMALL if options.small else FULL
    names = options.set or list(SETS)
    quiet()
    compile_kernels()
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn"), initializer=quiet) as pool:
        sets = {name: measure_set(name, size, options.workers, pool) for name in names}
    scale = {str(n): measure_scale(n, options.workers) for n in size.scale}
    processor = {name: compare_processor_time(name, size) for name in names}
    posterior = {name: compare_log_posteriors(name, size, options.workers) for name in names}
    if options.json:
        print(json.dumps({"sets": sets, "scale": scale, "processor": processor, "log_posterior": posterior}))


if __name__ == "__main__":
    main()
