"""The boosted trees of the blend."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from mmt_assets.forecasting import ForecastInputs, ForecastOptions, components, forecast
from mmt_assets.forecasting.curves import choose_segmentation
from mmt_assets.forecasting.history import History, at_origin, build_history
from mmt_assets.forecasting.inputs import Floats, epoch_day, read_concerts, read_sales
from mmt_assets.forecasting.trees import MIN_CONCERTS

AS_OF = date(2025, 6, 30)
DAY = epoch_day(AS_OF)


def world(finished: int, seed: int = 3) -> ForecastInputs:
    """Concerts that sell twice as fast where the first week was strong: a rule that no pooled curve holds."""
    random = np.random.default_rng(seed)
    concerts, sales = [], []
    for number in range(finished + 6):
        show = -int(random.integers(1, 360)) if number < finished else int(random.integers(5, 25))
        length = int(random.integers(30, 60))
        strong = random.random() < 0.5
        daily = random.poisson(np.where(np.arange(length + 1) < 7, 8 if strong else 4, 6 if strong else 1))
        concerts.append(
            {
                "concert_id": f"c{number:03d}",
                **dict.fromkeys(("artist", "city", "country", "currency"), "same"),
                "venue": None,
                "capacity": np.nan,
                "on_sale_date": AS_OF + timedelta(show - length),
                "show_date": AS_OF + timedelta(show),
                "status": "completed" if show < 0 else "on_sale",
            }
        )
        sales += [
            (f"c{number:03d}", AS_OF + timedelta(show - length + age), int(sold), 0)
            for age, sold in enumerate(daily)
            if sold and show - length + age <= 0
        ]
    columns = ["concert_id", "sales_date", "tickets_sold", "tickets_refunded"]
    demand = pd.DataFrame(columns=["artist", "country", "city", "fans_count"])
    return ForecastInputs(pd.DataFrame(concerts), pd.DataFrame(sales, columns=columns), demand)


def history_of(inputs: ForecastInputs) -> History:
    concerts = read_concerts(inputs)
    return build_history(concerts, read_sales(inputs, concerts, DAY), np.arange(len(concerts.ids)))


def learned(history: History, day: int) -> components.Knowledge:
    whole = at_origin(history, day, 45.0)
    segmentation = choose_segmentation(whole, np.flatnonzero(whole.gross > 0))
    return components.with_trees(components.learn(history, day, *segmentation), history)


def net_change(knowledge: components.Knowledge, history: History, day: int) -> Floats:
    assert knowledge.trees is not None
    origin = at_origin(history, day, knowledge.typical_sale_days)
    future, past, _ = components.prior_path(knowledge, origin, int(origin.days_to_show.max()))
    rates = knowledge.refunds.on(np.arange(future.shape[1]))
    return knowledge.trees.net_change(origin, future, rates, past.sum(axis=1) + future.sum(axis=1))


def test_too_few_finished_concerts_have_no_trees_and_keep_the_prior() -> None:
    history = history_of(world(MIN_CONCERTS - 1))
    knowledge = learned(history, DAY)
    assert knowledge.trees is None
    origin = at_origin(history, DAY, knowledge.typical_sale_days)
    future, past, _ = components.prior_path(knowledge, origin, 30)
    np.testing.assert_array_equal(components.trees_path(knowledge, origin, future, past, np.ones_like(future)), future)


def test_what_ends_after_a_past_day_teaches_nothing_on_it() -> None:
    history, past_day = history_of(world(200)), DAY - 120
    other = replace(history, sold=np.where(history.concerts.show[:, None] < past_day, history.sold, 7 * history.sold))
    # Only what is visible on that day may differ between the two, so it is compared on concerts that had finished.
    done = np.flatnonzero(history.concerts.show < past_day)
    before = net_change(learned(history.take(done), past_day), history.take(done), past_day - 30)
    trees = [components.with_trees(components.learn(history.take(done), past_day, "none", np.empty(0)), h).trees
             for h in (history, other)]  # fmt: skip
    assert before.shape == (len(done),)
    dumped = [[tree.get_dump() for tree in (made.change, made.beyond)] for made in trees if made is not None]
    assert len(dumped) == 2
    assert dumped[0] == dumped[1]


def test_they_learn_what_the_pooled_curve_cannot_and_say_the_same_twice() -> None:
    inputs = world(300)
    history = history_of(inputs)
    ahead = np.flatnonzero(history.concerts.show > DAY)
    some = history.take(ahead)
    said = net_change(learned(history, DAY), some, DAY)
    np.testing.assert_array_equal(said, net_change(learned(history_of(inputs), DAY), some, DAY))
    origin = at_origin(some, DAY, 45.0)
    recent = (some.sold * ((some.days_out[None, :] - origin.days_to_show[:, None]) < 14) * origin.known).sum(axis=1)
    fast = recent / 14 > 3.5
    assert fast.any()
    assert not fast.all()
    per_day = said / origin.days_to_show
    assert per_day[fast].min() > 2 * per_day[~fast].max()


@pytest.mark.parametrize("finished", [30, 200])
def test_the_forecast_names_them_where_they_take_part(finished: int) -> None:
    reasons = forecast(world(finished), AS_OF, options=ForecastOptions(origins=6)).outlook["method_reason"]
    # With too few concerts their weight is that of the prior they repeat.
    assert reasons.str.contains("boosted_trees").all() or finished == 30
