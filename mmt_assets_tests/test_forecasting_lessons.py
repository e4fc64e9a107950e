"""What finished concerts teach one by one: the boosted trees and the comparison with similar concerts."""

from dataclasses import fields, replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from mmt_assets.forecasting import ForecastInputs, ForecastOptions, components, forecast
from mmt_assets.forecasting.curves import choose_segmentation
from mmt_assets.forecasting.history import History, at_origin, build_history
from mmt_assets.forecasting.inputs import epoch_day, read_concerts, read_sales
from mmt_assets.forecasting.similar import SimilarConcerts
from mmt_assets.forecasting.standing import MIN_CONCERTS, Standing, lessons, standing_now
from mmt_assets.forecasting.trees import BoostedTrees

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
    return components.with_lessons(components.learn(history, day, *segmentation), history)


def stand(knowledge: components.Knowledge, history: History, day: int) -> Standing:
    origin = at_origin(history, day, knowledge.typical_sale_days)
    future, past, _ = components.prior_path(knowledge, origin, int(origin.days_to_show.max()))
    rates = knowledge.refunds.on(np.arange(future.shape[1]))
    return standing_now(origin, future, past, rates, knowledge.shrinkage)


def model_of(knowledge: components.Knowledge, name: str) -> BoostedTrees | SimilarConcerts:
    model = knowledge.trees if name == "boosted_trees" else knowledge.similar
    assert model is not None
    return model


MODELS = ("boosted_trees", "similar_concerts")


def test_too_few_finished_concerts_teach_nothing_and_keep_the_prior() -> None:
    history = history_of(world(MIN_CONCERTS - 1))
    knowledge = learned(history, DAY)
    assert knowledge.trees is None
    assert knowledge.similar is None
    origin = at_origin(history, DAY, knowledge.typical_sale_days)
    future, past, _ = components.prior_path(knowledge, origin, 30)
    for path in components.learned_paths(knowledge, origin, future, past, np.ones_like(future)).values():
        np.testing.assert_array_equal(path, future)


def test_what_ends_after_a_past_day_teaches_nothing_on_it() -> None:
    history, past_day = history_of(world(200)), DAY - 120
    other = replace(history, sold=np.where(history.concerts.show[:, None] < past_day, history.sold, 7 * history.sold))
    # Only what is visible on that day may differ between the two, so it is compared on concerts that had finished.
    done = history.take(np.flatnonzero(history.concerts.show < past_day))
    knowledge = components.learn(done, past_day, "none", np.empty(0))
    both = [components.with_lessons(knowledge, some) for some in (history, other)]
    now = stand(both[0], done, past_day - 30)
    assert len(now.net) > MIN_CONCERTS
    for name in MODELS:
        first, second = (model_of(some, name).net_change(now) for some in both)
        np.testing.assert_array_equal(first, second)


def test_how_a_concert_stood_does_not_know_what_came_later() -> None:
    history, horizon = history_of(world(80)), 10
    done = history.take(np.flatnonzero(history.concerts.show < DAY))
    later = done.days_out[None, :] < horizon
    prior, rates = np.ones(done.sold.shape), np.full(done.sold.shape[1], 0.01)
    both = [
        lessons(at_origin(replace(done, sold=sold), DAY, 45.0), prior, rates, components.DEFAULT_SHRINKAGE, DAY)
        for sold in (done.sold, np.where(later, 5 * done.sold + 1, done.sold))
    ]
    assert both[0] is not None
    assert both[1] is not None
    early = both[0].standing.days_to_show >= horizon
    assert 0 < early.sum() < len(early)
    for column in fields(Standing):
        first, second = (getattr(some.standing, column.name)[early] for some in both if some is not None)
        np.testing.assert_array_equal(first, second)
    assert (both[1].change[early] > both[0].change[early]).all()


@pytest.mark.parametrize("name", MODELS)
def test_they_learn_what_the_pooled_curve_cannot_and_say_the_same_twice(name: str) -> None:
    inputs = world(160)
    history = history_of(inputs)
    some = history.take(np.flatnonzero(history.concerts.show > DAY))
    knowledge, again = learned(history, DAY), learned(history_of(inputs), DAY)
    said = model_of(knowledge, name).net_change(stand(knowledge, some, DAY))
    np.testing.assert_array_equal(said, model_of(again, name).net_change(stand(again, some, DAY)))
    origin = at_origin(some, DAY, 45.0)
    recent = (some.sold * ((some.days_out[None, :] - origin.days_to_show[:, None]) < 14) * origin.known).sum(axis=1)
    fast = recent / 14 > 3.5
    assert fast.any()
    assert not fast.all()
    per_day = said / origin.days_to_show
    assert per_day[fast].min() > 2 * per_day[~fast].max()


def test_a_concert_like_none_before_keeps_to_its_own_pace_up_to_what_all_share() -> None:
    history = history_of(world(160))
    knowledge = learned(history, DAY)
    similar = model_of(knowledge, "similar_concerts")
    some = stand(knowledge, history.take(np.flatnonzero(history.concerts.show > DAY)), DAY)
    odd = replace(some, **{f: 1000 * getattr(some, f) for f in ("net", "gross", "pace_remaining", "pace_change")})
    beyond = np.abs(similar.net_change(odd) - odd.pace_change)
    assert (beyond < 0.5 * odd.pace_remaining).all()


@pytest.mark.parametrize("finished", [30, 120])
def test_the_forecast_names_them_where_they_take_part(finished: int) -> None:
    reasons = forecast(world(finished), AS_OF, options=ForecastOptions(origins=4)).outlook["method_reason"]
    # With too few concerts their weight is that of the prior they repeat.
    for name in MODELS:
        assert reasons.str.contains(name).all() or finished == 30


def test_concerts_whose_first_days_are_not_on_record_do_not_teach() -> None:
    known = world(MIN_CONCERTS + 40)
    first = pd.to_datetime(known.sales["sales_date"]).min()
    # On sale for a year before the record begins: of a long sale only the last days are seen.
    older = known.concerts.head(30).assign(
        concert_id=[f"old{number}" for number in range(30)],
        on_sale_date=first - pd.Timedelta(days=365),
        show_date=[first + pd.Timedelta(days=20 + number) for number in range(30)],
    )
    seen = pd.DataFrame({"concert_id": older["concert_id"], "sales_date": first + pd.Timedelta(days=3)})
    seen = seen.assign(tickets_sold=5, tickets_refunded=0)
    more = ForecastInputs(pd.concat([known.concerts, older]), pd.concat([known.sales, seen]), known.demand)
    options = ForecastOptions(origins=6)
    without, with_them = (forecast(some, AS_OF, options=options).outlook for some in (known, more))
    compared = ["concert_id", "final_p10", "final_p50", "final_p90", "method_reason"]
    pd.testing.assert_frame_equal(without[compared], with_them[compared])
