"""From the forecast library's frames to rows of the forecast tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmt_assets.contracts import (
    BOOKING_CURVES,
    CITY_DEMAND_FORECAST,
    CONCERT_FORECAST,
    CONCERT_OUTLOOK,
    CONCERT_PROPOSALS,
    OUTLOOK_CHANGES,
    TICKET_SALES,
    TableContract,
)
from mmt_assets.forecasting import ForecastInputs, ForecastResult
from mmt_assets.forecasting.inputs import timestamps

_CONCERT_FACTS = ["concert_id", "artist", "city", "country", "venue", "currency", "status", "on_sale_date", "show_date"]
_LEVELS = ("p10", "p50", "p90")


@dataclass(frozen=True)
class ForecastTables:
    """Rows of one as-of date, each frame in the shape of its contract."""

    as_of: date
    ticket_sales: pd.DataFrame
    concert_outlook: pd.DataFrame
    booking_curves: pd.DataFrame
    city_demand_forecast: pd.DataFrame
    concert_proposals: pd.DataFrame
    concert_forecast: pd.DataFrame
    outlook_changes: pd.DataFrame


def build_tables(
    inputs: ForecastInputs,
    result: ForecastResult,
    demand: pd.DataFrame,
    proposals: pd.DataFrame,
    as_of: date,
    provenance: Mapping[str, Any],
) -> ForecastTables:
    """Add what is known of the concerts, the as-of date and the provenance.

    Args:
        inputs: What the forecast was made from.
        result: What it gave.
        demand: What `forecast_demand` gave; empty for a single concert.
        proposals: What `propose_concerts` gave; empty for a single concert.
        as_of: As-of date.
        provenance: Origin, time of computation, run, commit and lock of every row.
    """
    extra = {"as_of_date": pd.Timestamp(as_of), **provenance}
    facts = inputs.concerts[_CONCERT_FACTS]
    outlook = result.outlook.merge(facts, on="concert_id", how="left", suffixes=("", "_known")).assign(**extra)
    path = result.ticket_sales.drop(columns="concert_id")
    concert = pd.Index(outlook["concert_id"]).get_indexer(pd.Index(result.ticket_sales["concert_id"]))
    curves = result.booking_curves.assign(method="pooled_curve", **extra)
    shown = pd.concat([_as_of_rows(inputs, outlook, as_of), path], ignore_index=True)
    shown_concert = np.concatenate([np.arange(len(outlook)), concert])
    return ForecastTables(
        as_of,
        _beside(path, outlook, concert, TICKET_SALES),
        _shape(outlook, CONCERT_OUTLOOK),
        _shape(curves, BOOKING_CURVES),
        _shape(demand.assign(**extra), CITY_DEMAND_FORECAST),
        _shape(proposals.assign(**extra), CONCERT_PROPOSALS),
        _beside(shown, outlook, shown_concert, CONCERT_FORECAST),
        _shape(result.changes.assign(**extra), OUTLOOK_CHANGES),
    )


def _beside(
    days: pd.DataFrame, outlook: pd.DataFrame, concert: npt.NDArray[np.integer[Any]], contract: TableContract
) -> pd.DataFrame:
    """Rows by day with the outlook's columns repeated beside them, in the order of concert and day.

    Text is repeated as categories: millions of Python strings would cost most of a large day's time and memory.

    Args:
        days: Columns by sales date.
        outlook: One row per concert.
        concert: Row of `outlook` that each row of `days` belongs to.
        contract: The columns wanted; those that `days` lacks come from the outlook.
    """
    rank = outlook["concert_id"].rank(method="first").astype(np.int64).to_numpy()
    order = _order(rank[concert], days["sales_date"].to_numpy().astype("datetime64[D]").astype(np.int64))
    if order is not None:
        days, concert = days.take(order), concert[order]
    columns: dict[str, Any] = {}
    for name in contract.column_names:
        if name in days.columns:
            columns[name] = days[name].array
        elif outlook[name].dtype == object:
            codes, values = pd.factorize(outlook[name])
            columns[name] = pd.Categorical.from_codes(cast("Any", codes[concert]), values)
        else:
            columns[name] = outlook[name].array.take(concert)
    # Nothing else holds these arrays; a copy of each, and another one side by side, would be most of the memory.
    return pd.DataFrame(columns, copy=False)


def _order(
    rank: npt.NDArray[np.integer[Any]], day: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.integer[Any]] | None:
    """Rows in the order of rank and day, or None where they are in it."""
    if not len(rank):
        return None
    key = rank * (int(day.max()) - int(day.min()) + 1) + day
    return None if (key[1:] >= key[:-1]).all() else np.argsort(key, kind="stable")


def _as_of_rows(inputs: ForecastInputs, outlook: pd.DataFrame, as_of: date) -> pd.DataFrame:
    """One row per concert for the as-of date itself, on which everything is known."""
    sales = inputs.sales[timestamps(inputs.sales["sales_date"]) == pd.Timestamp(as_of)]
    net = (sales["tickets_sold"] - sales["tickets_refunded"]).groupby(sales["concert_id"]).sum()
    rows = pd.DataFrame({"sales_date": pd.Timestamp(as_of)}, index=outlook.index)
    for level in _LEVELS:
        rows[f"tickets_{level}"] = outlook["concert_id"].map(net).fillna(0).astype(float)
        # Refunds can exceed what this source knows was sold; a total is never below nothing.
        rows[f"cumulative_tickets_{level}"] = outlook["sold"].clip(lower=0).astype(float)
        rows[f"cumulative_gross_tickets_{level}"] = outlook["gross_sold"].astype(float)
    return rows


def _shape(frame: pd.DataFrame, contract: TableContract) -> pd.DataFrame:
    """The contract's columns in order, rows in the order of its key."""
    return frame[list(contract.column_names)].sort_values(list(contract.key), ignore_index=True)
