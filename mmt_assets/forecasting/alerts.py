"""What deserves attention: a concert that stands still told apart from data that stopped, and status changes."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import pandas as pd

from mmt_assets.forecasting.inputs import timestamps

AlertKind = Literal["data_glitch", "stalled", "behind", "likely_sell_out"]
"""data_glitch: no sale of any concert where days without one are rare; stalled: this concert alone sells nothing;
behind, likely_sell_out: the concert's status flag."""

CONCERT_KINDS: tuple[AlertKind, ...] = ("stalled", "behind", "likely_sell_out")
REFERENCE_DAYS = 56
MIN_REFERENCE_DAYS = 14
LARGEST_CHANCE = 0.01
"""A run of days without any sale is a glitch when past days make it rarer than this."""


@dataclass(frozen=True)
class Silence:
    """Days without any sale of any concert, the as-of date the last of them.

    Attributes:
        first_date: First day of the run.
        days: Its length.
        chance: How likely such a run was, given how rare days without any sale were before it.
    """

    first_date: date
    days: int
    chance: float


def data_glitch(sales: pd.DataFrame, as_of: date, *, on_sale: bool = True) -> Silence | None:
    """Tell whether the sales data stopped: a run of silent days up to `as_of` that the days before make implausible.

    Args:
        sales: sales_date, tickets_sold of all concerts, until `as_of`; days without a row sold nothing.
        as_of: The business day.
        on_sale: Whether any concert could have sold something; without one, silence is no news.

    Returns:
        The silence, or None when sales go on, when silence is usual, or when too few days came before it.
    """
    if not on_sale or sales.empty:
        return None
    day = pd.Timestamp(as_of)
    selling = timestamps(sales["sales_date"])[sales["tickets_sold"] > 0]
    selling = pd.DatetimeIndex(selling[selling <= day].unique()).sort_values()
    if selling.empty or selling[-1] == day:
        return None
    last = selling[-1]
    silent = (day - last).days
    begin = max(selling[0], last - pd.Timedelta(days=REFERENCE_DAYS - 1))
    reference = (last - begin).days + 1
    if reference < MIN_REFERENCE_DAYS:
        return None
    quiet = reference - int((selling >= begin).sum())
    # Half a quiet day is added: that none was seen does not make one impossible.
    chance = ((quiet + 0.5) / (reference + 1)) ** silent
    if chance >= LARGEST_CHANCE:
        return None
    return Silence((last + pd.Timedelta(days=1)).date(), silent, float(chance))


def stalled_by_itself(
    concert_ids: Collection[str], sales: pd.DataFrame, as_of: date, glitch: Silence | None
) -> set[str]:
    """Return those of some silent concerts that fell silent before the data did: the others are part of the glitch.

    Args:
        concert_ids: Concerts that sold nothing lately (`status_flag` "stalled").
        sales: concert_id, sales_date, tickets_sold until `as_of`.
        as_of: The business day.
        glitch: What `data_glitch` found.
    """
    if glitch is None:
        return set(concert_ids)
    sold = sales[(sales["tickets_sold"] > 0) & (timestamps(sales["sales_date"]) <= pd.Timestamp(as_of))]
    last_sale = timestamps(sold["sales_date"]).groupby(sold["concert_id"]).max()
    begun = pd.Timestamp(glitch.first_date - timedelta(days=1))
    return {concert for concert in concert_ids if concert not in last_sale.index or last_sale[concert] < begun}


ALERT_COLUMNS = ("kind", "concert_id", "message")


def find_alerts(outlook: pd.DataFrame, sales: pd.DataFrame, as_of: date) -> pd.DataFrame:
    """Return what deserves attention on a day, a data glitch first, then concerts in the outlook's order.

    Args:
        outlook: Rows of that day: concert_id, artist, city, status, status_flag, days_to_show, sold, capacity,
            final_p50, sell_out_probability, pace_pct, pace_tickets.
        sales: concert_id, sales_date, tickets_sold of all concerts, until `as_of`.
        as_of: The business day.

    Returns:
        Columns `ALERT_COLUMNS`: kind (`AlertKind`), concert_id ("" for a glitch), message for people.
    """
    could_sell = (outlook["status"] == "on_sale") & (outlook["status_flag"] != "sold_out")
    glitch = data_glitch(sales, as_of, on_sale=bool(could_sell.any()))
    rows: list[tuple[AlertKind, str, str]] = []
    if glitch:
        rows.append(("data_glitch", "", glitch_message(glitch, int(could_sell.sum()))))
    silent = outlook.loc[outlook["status_flag"] == "stalled", "concert_id"]
    stalled = stalled_by_itself(list(silent), sales, as_of, glitch)
    for concert in outlook.to_dict("records"):
        flag = concert["status_flag"]
        if flag == "stalled" and concert["concert_id"] not in stalled:
            continue
        if flag in CONCERT_KINDS:
            rows.append((flag, str(concert["concert_id"]), concert_message(concert)))
    return pd.DataFrame(rows, columns=list(ALERT_COLUMNS))


def glitch_message(glitch: Silence, concerts: int) -> str:
    """Say that the data stopped, in one line."""
    days = "1 day" if glitch.days == 1 else f"{glitch.days} days"
    return (
        f"No sale of any concert for {days}, since {glitch.first_date}, with {concerts} on sale: "
        "the data has probably stopped, not the sales. Check the source."
    )


def concert_message(concert: dict) -> str:
    """Say why a concert deserves attention, in one line.

    Args:
        concert: A row of the outlook whose status flag is one of `CONCERT_KINDS`.
    """
    capacity = concert["capacity"]
    of_capacity = f" of {capacity:,.0f}" if pd.notna(capacity) else ""
    standing = (
        f"{concert['artist']} in {concert['city']} ({concert['concert_id']}), {concert['days_to_show']} days to the "
        f"show: {concert['sold']:,}{of_capacity} sold, {concert['final_p50']:,.0f} expected"
    )
    match concert["status_flag"]:
        case "behind":
            return f"Behind: {standing}; {-concert['pace_pct']:.0f}% behind comparable concerts."
        case "stalled":
            return f"Stalled: {standing}; nothing sold for two weeks while other concerts sell."
        case _:
            return f"Likely sell-out: {standing}; probability {concert['sell_out_probability']:.0%}."
