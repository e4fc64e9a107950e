"""Where a concert should be proposed: demand of fans so far and ahead, and what it would sell at several capacities.

What a concert would sell is the prior of the forecasts (`prior.py`). Its errors on past concerts that it was not
shown are the interval (cross-conformal prediction, Vovk 2015). Demand is compared between places as it stands on one
and the same day: how many had asked by the start of a past sale says little where the record of makes begins later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import pandas as pd

from mmt_assets.forecasting import components, refunds
from mmt_assets.forecasting.blend import recency
from mmt_assets.forecasting.comparables import pace
from mmt_assets.forecasting.curves import choose_segmentation
from mmt_assets.forecasting.demand import PLACE
from mmt_assets.forecasting.fan_demand import LEAD_DAYS, demand_by_place
from mmt_assets.forecasting.history import History, Origin, at_origin, build_history, on_record, select
from mmt_assets.forecasting.inputs import (
    Concerts,
    Floats,
    ForecastInputs,
    Sales,
    dates,
    epoch_day,
    read_concerts,
    read_sales,
)
from mmt_assets.forecasting.intervals import ErrorPool, movement, no_errors, quantiles, scenarios
from mmt_assets.forecasting.outlook import LEVELS

FINISHED_LIMIT = 1500
FOLDS = 8
"""Parts of the past concerts; each is forecast by what the others teach."""
MIN_CONCERTS = 40
CAPACITY_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
DEFAULT_CAPACITIES = (500, 1000, 2000, 5000)
WELL_SOLD = 0.8
"""Share of the capacity that the recommended hall should sell."""
COLUMNS = (
    *PLACE,
    "capacity",
    "proposal_rank",
    "is_recommended",
    "fans_so_far",
    "fans_per_week",
    "pace_change_pct",
    "threshold_fans",
    "is_threshold_reached",
    "threshold_date",
    "threshold_date_early",
    "threshold_date_late",
    "assumed_on_sale_date",
    "assumed_show_date",
    *(f"tickets_p{round(100 * level)}" for level in LEVELS),
    "sell_through_pct",
    "sell_out_probability",
    "comparables",
    "planned_concerts",
    "last_show_date",
    "method",
    "method_reason",
)


@dataclass(frozen=True)
class ProposalOptions:
    """What a proposal needs.

    Attributes:
        threshold_fans: Fans in a city from which a concert is worth proposing.
        by_country: The same for countries that differ.
        capacities: Capacities to look at; none: five that are typical of past concerts.
        limit: Most places to propose, the best first.
    """

    threshold_fans: int = 300
    by_country: Mapping[str, int] = field(default_factory=dict)
    capacities: tuple[int, ...] = ()
    limit: int = 200


def propose_concerts(
    inputs: ForecastInputs, makes: pd.DataFrame, demand_ahead: pd.DataFrame, as_of: date, options: ProposalOptions
) -> pd.DataFrame:
    """Rank the places where fans ask for an artist.

    Places without a planned concert of the artist come first, then those whose threshold is reached or expected to be
    within the demand forecast, then the tickets (p50) that the recommended capacity would sell. Recommended is the
    largest capacity that would sell 80%, else the smallest.

    Args:
        inputs: What was known; see `ForecastInputs`.
        makes: artist, country, city, demand_date, new_fans_count until `as_of`.
        demand_ahead: What `forecast_demand` said as of that day.
        as_of: The business day.
        options: Threshold and capacities.

    Returns:
        One row per place and capacity, columns `COLUMNS`; a larger capacity never sells fewer tickets.
    """
    if demand_ahead.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    day = epoch_day(as_of)
    concerts = read_concerts(inputs)
    history = _finished(concerts, read_sales(inputs, concerts, day), day)
    demand = demand_by_place(
        makes, demand_ahead, day, threshold_fans=options.threshold_fans, by_country=options.by_country
    )
    places = demand.merge(_concerts_there(concerts, day), on=PLACE, how="left")
    learned = _learn(history, day)
    on_sale = day + LEAD_DAYS
    show = _usual_show_day(history, on_sale + round(learned.knowledge.typical_sale_days))
    capacities = options.capacities or typical_capacities(history)
    offers = places.merge(pd.DataFrame({"capacity": sorted(capacities)}), how="cross")
    wanted = _wanted(learned, _hypothetical(offers, on_sale, show), offers)
    ranked = _rank(offers.assign(wanted=wanted), options.limit)
    ranked = _sales(ranked, learned).assign(
        assumed_on_sale_date=dates(np.full(len(ranked), on_sale)),
        assumed_show_date=dates(np.full(len(ranked), show)),
        comparables=_comparables(learned, history, ranked, on_sale, show),
        method="pooled_prior",
        method_reason=learned.reason,
    )
    return ranked[list(COLUMNS)]


@dataclass(frozen=True)
class _Learned:
    """What finished concerts teach of concerts before their first sale."""

    knowledge: components.Knowledge
    errors: ErrorPool
    reason: str


def typical_capacities(history: History) -> tuple[int, ...]:
    """Return up to five capacities of past concerts from small to large, to two digits."""
    known = history.concerts.capacity[np.isfinite(history.concerts.capacity)]
    if not len(known):
        return DEFAULT_CAPACITIES
    levels = np.quantile(known, CAPACITY_LEVELS)
    unit = 10.0 ** np.maximum(np.floor(np.log10(levels)) - 1, 0)
    return tuple(int(value) for value in np.unique(np.round(levels / unit) * unit))


def _finished(concerts: Concerts, sales: Sales, day: int) -> History:
    """Return the newest finished concerts whose sale is on record from its first day on."""
    fine = (concerts.status.astype(str) != "cancelled") & (concerts.show < day)
    history = build_history(concerts, sales, np.flatnonzero(fine)[-FINISHED_LIMIT:])
    return history.take(on_record(history, sales))


def _concerts_there(concerts: Concerts, day: int) -> pd.DataFrame:
    """Return per place the artist's concerts that are ahead, and the last one that was."""
    frame = pd.DataFrame({name: concerts.groups[name] for name in PLACE})
    frame["id"], frame["show"], frame["status"] = concerts.ids, concerts.show, concerts.status
    frame = frame[frame["status"] != "cancelled"]
    ahead = frame[frame["show"] >= day].groupby(PLACE)["id"].agg(lambda ids: ", ".join(map(str, ids)))
    past = frame[frame["show"] < day].groupby(PLACE)["show"].max()
    joined = pd.concat([ahead.rename("planned_concerts"), past.rename("last_show")], axis=1).reset_index()
    joined["last_show_date"] = pd.to_datetime(joined["last_show"], unit="D")
    return joined.drop(columns="last_show")


def _learn(history: History, day: int) -> _Learned:
    """Learn the prior, and how far it was off on concerts that it was not shown."""
    sale_days = components.typical_sale_days(history, day)
    whole = at_origin(history, day, sale_days)
    segmentation = choose_segmentation(whole, np.flatnonzero(whole.gross > 0))
    knowledge = components.learn(history, day, *segmentation)
    count = len(history.start)
    if count < MIN_CONCERTS:
        return _Learned(knowledge, no_errors(), f"{count} past concerts: too few to learn errors from, wide intervals")
    fold = np.arange(count) % FOLDS
    expected = np.empty(count)
    for part in range(FOLDS):
        others = components.learn(history.take(np.flatnonzero(fold != part)), day, *segmentation)
        expected[fold == part] = _expected(others, select(whole, np.flatnonzero(fold == part)))
    unit = movement(expected, expected, np.zeros(count))
    error = (whole.net - expected) / unit
    pool = ErrorPool(
        error=error,
        gross_error=error,
        censored=whole.sold_out.astype(np.float64),
        log_movement=np.log(unit),
        days_to_show=np.full(count, LEAD_DAYS),
        recent=recency(history.concerts.show, day),
        spread=1.0,
        growth=0.0,
    )
    within = np.where(whole.sold_out, np.minimum(expected, whole.net), expected)
    off = np.abs(whole.net - within).sum() / max(whole.net.sum(), 1.0)
    return _Learned(knowledge, pool, f"off by {off:.0%} of the tickets of {count} past concerts that it was not shown")


def _expected(knowledge: components.Knowledge, origin: Origin) -> Floats:
    """Return the net tickets expected at the show before any sale, the capacity left out of account, shape (n,)."""
    origin = replace(origin, days_to_show=np.maximum(origin.sale_days + 1, 1))
    horizon = int(origin.days_to_show.max())
    future, _, _ = components.prior_path(knowledge, origin, horizon)
    kept = refunds.survival(knowledge.refunds, np.ones(len(future)), origin.days_to_show, horizon)
    net: Floats = refunds.net_path(np.zeros(len(future)), future, kept)[:, 0]
    return net


def _usual_show_day(history: History, earliest: int) -> int:
    """Return the first day from `earliest` on that is the usual weekday of past shows; a Saturday without any."""
    weekdays = np.bincount((history.concerts.show + 3) % 7, minlength=7)
    usual = int(weekdays.argmax()) if weekdays.any() else 5
    return earliest + (usual - (earliest + 3)) % 7


def _hypothetical(offers: pd.DataFrame, on_sale: int, show: int, as_of: int | None = None) -> Origin:
    """Return concerts that nobody has planned, on the day before their sale or a later one."""
    count = len(offers)
    concerts = Concerts(
        ids=np.arange(count).astype(object),
        show=np.full(count, show),
        on_sale=np.full(count, on_sale),
        status=np.full(count, "announced", dtype=object),
        capacity=offers["capacity"].to_numpy(dtype=np.float64),
        demand=offers["fans_so_far"].to_numpy(dtype=np.float64),
        groups={name: offers[name].to_numpy(dtype=object) for name in PLACE}
        | {name: np.full(count, "", dtype=object) for name in ("venue", "currency")},
    )
    none = np.empty(0, np.int64)
    history = build_history(concerts, Sales(none, none, np.empty(0), np.empty(0)), np.arange(count))
    return at_origin(history, on_sale - 1 if as_of is None else as_of, show - on_sale)


def _wanted(learned: _Learned, origin: Origin, offers: pd.DataFrame) -> Floats:
    """Return the tickets that fans would buy, never fewer in a larger hall of the same place."""
    expected = pd.Series(_expected(learned.knowledge, origin), index=offers.index)
    return np.asarray(expected.groupby([offers[name] for name in PLACE]).cummax(), dtype=np.float64)


def _rank(offers: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Return the best places' offers with their rank, the recommended capacity marked."""
    sold = np.minimum(offers["wanted"], offers["capacity"])
    place = [offers[name] for name in PLACE]
    fits = offers["capacity"].where(sold >= WELL_SOLD * offers["capacity"])
    best = fits.groupby(place).transform("max").fillna(offers.groupby(PLACE)["capacity"].transform("min"))
    offers = offers.assign(is_recommended=offers["capacity"] == best, sold=sold)
    chosen = offers[offers["is_recommended"]].assign(
        is_planned=lambda rows: rows["planned_concerts"].notna(),
        no_threshold=lambda rows: rows["threshold_date"].isna(),
    )
    chosen = chosen.sort_values(
        ["is_planned", "no_threshold", "sold", "wanted", *PLACE], ascending=[True, True, False, False, True, True, True]
    )[:limit]
    rank = chosen[PLACE].assign(proposal_rank=np.arange(1, len(chosen) + 1))
    return offers.merge(rank, on=PLACE).sort_values(["proposal_rank", "capacity"], ignore_index=True)


def _sales(offers: pd.DataFrame, learned: _Learned) -> pd.DataFrame:
    """Add quantiles of the tickets that would be sold, and the probability of a sell-out."""
    wanted, capacity = offers["wanted"].to_numpy(dtype=np.float64), offers["capacity"].to_numpy(dtype=np.float64)
    unit = movement(wanted, wanted, np.zeros(len(wanted)))
    said, chance = np.empty((len(offers), len(LEVELS))), np.empty(len(offers))
    for i in range(len(offers)):
        error, _, mass = scenarios(learned.errors, float(np.log(unit[i])), LEAD_DAYS, centred=False)
        total = np.maximum(wanted[i] + unit[i] * error, 0.0)
        said[i] = quantiles(np.minimum(total, capacity[i]), mass, LEVELS)
        chance[i] = min(1.0, float(mass[total >= capacity[i]].sum()))
    place = [offers[name] for name in PLACE]
    columns = {}
    for k, level in enumerate(LEVELS):
        values = pd.Series(np.round(said[:, k], 1), index=offers.index)
        columns[f"tickets_p{round(100 * level)}"] = values.groupby(place).cummax()
    return offers.assign(
        **columns, sell_through_pct=100 * columns["tickets_p50"] / capacity, sell_out_probability=chance
    )


def _comparables(learned: _Learned, history: History, offers: pd.DataFrame, on_sale: int, show: int) -> Sequence[str]:
    """Return the finished concerts that are most alike, comma-separated."""
    targets = _hypothetical(offers, on_sale, show, as_of=show)
    day = learned.knowledge.as_of
    started = history.take(np.flatnonzero(history.start >= 0))
    ended = at_origin(started, day, learned.knowledge.typical_sale_days)
    expected = components.log_expected_total(learned.knowledge, targets)
    return list(pace(targets, expected, started, components.log_expected_total(learned.knowledge, ended)).names)
