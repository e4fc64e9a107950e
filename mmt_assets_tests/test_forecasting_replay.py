"""The replay of past days: which forecasts are played again, and what is chosen on them."""

from dataclasses import replace

import numpy as np
import pytest

from mmt_assets.forecasting.components import DEFAULT_SHRINKAGE
from mmt_assets.forecasting.history import History
from mmt_assets.forecasting.inputs import Concerts
from mmt_assets.forecasting.replay import MIN_ORIGIN_GAP_DAYS, SHORT_LEADS, Replay, replay
from mmt_assets.forecasting.standing import FAR_DAYS, NEAR_DAYS, Shrinkage

TODAY = 19_000
LENGTH = 60
POOLED = ("none", np.zeros(2))


def history(turn: float) -> History:
    """Concerts on sale for 60 days at a pace of their own, which changes 14 days before the show by exp(N(0, turn))."""
    count, random = 300, np.random.default_rng(1)
    show = np.sort(TODAY - random.integers(1, 380, count))
    labels = np.full(count, "same", dtype=object)
    concerts = Concerts(
        ids=np.array([f"c{number:03d}" for number in range(count)], dtype=object),
        show=show,
        on_sale=show - LENGTH,
        status=np.full(count, "completed", dtype=object),
        capacity=np.full(count, np.nan),
        demand=np.full(count, np.nan),
        groups=dict.fromkeys(("artist", "city", "country", "venue", "currency"), labels),
    )
    pace = np.exp(random.normal(0, 0.7, count))[:, None] * np.ones(LENGTH + 2)
    pace[:, :15] *= np.exp(random.normal(0, turn, count))[:, None]
    pace[:, LENGTH + 1 :] = 0
    sold, none = random.poisson(3 * pace).astype(float), np.zeros(count)
    return History(concerts, show - LENGTH, sold, np.zeros_like(sold), none, none)


def played(some: History) -> Replay:
    past = replay(some, TODAY, 26, POOLED, "none")
    assert past is not None
    return past


def test_every_past_day_brings_concerts_near_their_show_too() -> None:
    past = played(history(0.0))
    days = past.show - past.days_to_show
    assert (days >= past.learned_on).all()
    assert (days < TODAY).all()
    near = past.days_to_show <= max(SHORT_LEADS)
    # A concert of the days until the next past day is met at each lead that is not before the day itself.
    again = near & (days > past.learned_on)
    assert again.sum() > near.sum() / 2
    assert set(past.days_to_show[again]) == set(SHORT_LEADS)
    assert (past.show[again] - past.learned_on[again] <= 2 * MIN_ORIGIN_GAP_DAYS).all()


def test_a_forecast_near_the_show_knows_nothing_later() -> None:
    some, split = history(0.0), TODAY - 150
    # The last day of later shows is known of none of them, wherever it is looked at from.
    changed = (some.concerts.show > split)[:, None] & (some.days_out == 0)[None, :]
    first, second = (played(part) for part in (some, replace(some, sold=np.where(changed, 9, 1) * some.sold)))
    same = first.learned_on <= split
    assert (same & (first.show > split)).any()
    assert (first.actual[same] != second.actual[same]).any()
    np.testing.assert_array_equal(first.gross[same], second.gross[same])
    prior = first.names.index("prior")
    np.testing.assert_array_equal(first.remaining[same, prior], second.remaining[same, prior])


@pytest.mark.parametrize(("turn", "is_judged_apart"), [(0.0, False), (0.6, True)])
def test_pace_is_judged_by_recent_days_near_the_show_where_that_pays(turn: float, is_judged_apart: bool) -> None:
    shrinkage = played(history(turn)).shrinkage
    assert (shrinkage.near != shrinkage.far) == is_judged_apart
    assert (shrinkage.near[1] < shrinkage.far[1]) == is_judged_apart


def test_between_near_and_far_the_setting_moves_smoothly() -> None:
    setting = Shrinkage(near=(3.0, 0.85), far=(100.0, 0.99))
    alpha, memory = setting.at(np.array([0, 1, NEAR_DAYS, 10, 14, 20, FAR_DAYS, 90]))
    assert alpha[:3].tolist() == [3.0] * 3
    assert memory[-2:].tolist() == [0.99] * 2
    assert (np.diff(alpha[2:-1]) > 0).all()
    assert (np.diff(memory[2:-1]) > 0).all()
    assert [values.tolist() for values in DEFAULT_SHRINKAGE.at(np.array([1, 90]))] == [[3.0] * 2, [0.95] * 2]
