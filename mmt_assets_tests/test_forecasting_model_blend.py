"""The blend and the pick-up regression find what a known world was made of."""

import numpy as np
import pytest

from mmt_assets.forecasting.blend import equal_blend, fit_blend
from mmt_assets.forecasting.components import DEFAULT_SHRINKAGE
from mmt_assets.forecasting.history import History, at_origin, select
from mmt_assets.forecasting.inputs import Concerts
from mmt_assets.forecasting.regression import MIN_CONCERTS, fit_regression
from mmt_assets.forecasting.replay import Replay

NOW = 19_000


def replayed(seed: int, noise: tuple[float, ...], rows: int = 600) -> Replay:
    """Forecasts that are the truth and so much noise, far and near alike."""
    rng = np.random.default_rng(seed)
    actual = rng.gamma(4, 50, rows)
    said = np.column_stack([actual + rng.normal(0, sd, rows) for sd in noise])
    days = rng.integers(1, 90, rows)
    show = NOW - rng.integers(1, 200, rows)
    net = np.full(rows, 40.0)
    return Replay(
        names=tuple(f"m{k}" for k in range(len(noise))),
        remaining=said,
        finals=said + net[:, None],
        learned_on=show - days,
        show=show,
        days_to_show=days,
        age=np.full(rows, 10),
        net=net,
        gross=net,
        actual=actual,
        sold_out=np.zeros(rows),
        actual_final=actual + net,
        half_error=np.zeros(rows),
        shrinkage=DEFAULT_SHRINKAGE,
    )


def test_weights_are_shares_and_the_best_model_weighs_most() -> None:
    weights = fit_blend(replayed(1, (80, 10, 80)), NOW).at(np.array([1, 7, 30, 60]))
    assert weights.sum(axis=1) == pytest.approx(np.ones(4))
    assert (weights >= 0).all()
    assert (weights[:, 1] > 0.8).all()


def test_two_equally_good_independent_models_share() -> None:
    past = replayed(2, (40, 40, 400))
    weights = fit_blend(past, NOW).at(np.array([14, 30]))
    assert weights[:, :2] == pytest.approx(np.full((2, 2), 0.5), abs=0.12)
    blended = np.abs(past.finals @ weights[0] - past.actual_final).mean()
    assert blended < 0.85 * np.abs(past.finals[:, 0] - past.actual_final).mean()


def test_a_sold_out_concert_blames_only_forecasts_below_it() -> None:
    past = replayed(3, (10, 10))
    high = past.finals.copy()
    high[:, 0] += 300
    hidden = Replay(
        **{**past.__dict__, "finals": high, "actual_final": past.actual_final + 50, "sold_out": np.ones(len(high))}
    )
    assert (fit_blend(hidden, NOW).at(np.array([14]))[:, 0] > 0.8).all()
    assert (fit_blend(Replay(**{**past.__dict__, "finals": high}), NOW).at(np.array([14]))[:, 0] < 0.1).all()


def test_without_enough_rows_all_models_weigh_the_same() -> None:
    few = fit_blend(replayed(4, (10, 80), rows=8), NOW)
    assert few.weights == pytest.approx(equal_blend(few.names).weights)


def concerts(count: int, seed: int) -> tuple[History, np.ndarray]:
    """Concerts on sale for 60 days that sell twice the first half's tickets in the second half."""
    rng = np.random.default_rng(seed)
    first = rng.integers(20, 400, count).astype(float)
    sold = np.zeros((count, 101))
    sold[:, 31:61] = first[:, None] / 30
    sold[:, 1:31] = 2 * first[:, None] / 30
    labels = np.array(["x"] * count, dtype=object)
    zero = np.zeros(count)
    show = NOW - 1 - np.arange(count)[::-1]
    return History(
        Concerts(labels, show, show - 60, labels, zero + np.nan, zero + np.nan, {}),
        show - 60,
        sold,
        np.zeros_like(sold),
        zero,
        zero,
    ), first


def test_the_regression_learns_how_much_is_still_to_come() -> None:
    history, first = concerts(200, 5)
    done = at_origin(history, NOW, 60)
    prior_path = np.full(history.sold.shape, 6.0) * (history.days_out <= 60)
    fitted = fit_regression(done, prior_path, NOW)
    target = at_origin(history, int(history.concerts.show[7]) - 30, 60)
    target = select(target, np.array([7]))
    logs, tickets = fitted.remaining(target, np.array([180.0]), np.array([360.0]))
    assert logs == pytest.approx([2 * first[7]], rel=0.15)
    assert tickets == pytest.approx([2 * first[7]], rel=0.15)


def test_too_few_concerts_leave_the_prior() -> None:
    history, _ = concerts(MIN_CONCERTS - 1, 6)
    done = at_origin(history, NOW, 60)
    fitted = fit_regression(done, np.ones(history.sold.shape), NOW)
    logs, tickets = fitted.remaining(
        at_origin(history, int(history.concerts.show[0]) - 5, 60),
        np.full(len(history.start), 9.0),
        np.full(len(history.start), 99.0),
    )
    assert (logs == 9).all()
    assert (tickets == 9).all()
