"""Which concert deserves attention first, and why, in words."""

from collections.abc import Callable
from typing import NamedTuple

from mmt_assets.board.concerts import DATA_GAP, BoardConcert
from mmt_assets.forecasting.outlook import PACE_MARGIN


class FlagMeaning(NamedTuple):
    """How a status flag is shown.

    Attributes:
        label: Name for people.
        icon: Id of its symbol: shape tells flags apart, colour only helps.
        tone: Colour: alert, warning, good, neutral.
        meaning: When it holds.
    """

    label: str
    icon: str
    tone: str
    meaning: str


# In the order of attention.
FLAG_MEANINGS = {
    "stalled": FlagMeaning("Stalled", "square", "alert", "No ticket for 14 days while other concerts sell."),
    "behind": FlagMeaning(
        "Behind", "down", "alert", f"Sold at least {PACE_MARGIN:.0f}% less than comparable concerts at this point."
    ),
    DATA_GAP: FlagMeaning(
        "Data gap", "gap", "warning", "No ticket for 14 days, but it fell silent together with all other concerts."
    ),
    "likely_sell_out": FlagMeaning(
        "Likely sell-out", "diamond", "good", "Sells out with a probability of 50% or more."
    ),
    "cancelled": FlagMeaning("Cancelled", "cross", "warning", "Cancelled; the show would still be ahead."),
    "sold_out": FlagMeaning("Sold out", "full", "good", "Net tickets have reached the capacity."),
    "ahead": FlagMeaning(
        "Ahead", "up", "good", f"Sold at least {PACE_MARGIN:.0f}% more than comparable concerts at this point."
    ),
    "new": FlagMeaning("New", "spark", "neutral", "On sale for less than 3 days: too early to judge the pace."),
    "no_comparables": FlagMeaning("No comparables", "question", "neutral", "No finished concert is similar enough."),
    "on_track": FlagMeaning("On track", "check", "neutral", f"Within {PACE_MARGIN:.0f}% of comparable concerts."),
    "not_on_sale": FlagMeaning("Not on sale", "clock", "neutral", "Announced; tickets are not on sale yet."),
}
_ORDER = {flag: rank for rank, flag in enumerate(FLAG_MEANINGS)}
# A forecast that left its own interval comes right after the concerts that are behind.
_MOVED_RANK = _ORDER["behind"] + 0.5


def attention_order(concert: BoardConcert) -> tuple[float, float, int, str]:
    """Sort key: kind of attention, then what is at stake, then the nearest show."""
    rank = float(_ORDER[concert.flag])
    if concert.change and concert.change.left_interval and rank > _MOVED_RANK:
        return _MOVED_RANK, -abs(concert.change.tickets), concert.days_to_show, concert.concert_id
    if concert.flag == "behind":
        return rank, concert.pace_tickets or 0.0, concert.days_to_show, concert.concert_id
    if concert.flag == "likely_sell_out" and concert.sell_out_date:
        return rank, float(concert.sell_out_date.toordinal()), concert.days_to_show, concert.concert_id
    return rank, 0.0, concert.days_to_show, concert.concert_id


def reason(concert: BoardConcert) -> str:
    """Why the concert stands where it stands, in one or two sentences."""
    moved = concert.change is not None and concert.change.left_interval
    told = _REASONS[concert.flag](concert)
    return f"{told} The forecast left its earlier 80% interval." if moved else told


def _stalled(concert: BoardConcert) -> str:
    since = concert.days_without_sale
    return (
        f"No ticket sold for {since} days while others sell." if since else "No ticket sold so far while others sell."
    )


def _pace(concert: BoardConcert) -> str:
    if concert.pace_tickets is None or concert.pace_pct is None:
        return "Nothing to compare with."
    direction = "ahead of" if concert.pace_tickets >= 0 else "behind"
    return f"{abs(concert.pace_tickets):,.0f} tickets ({abs(concert.pace_pct):.0f}%) {direction} comparable concerts."


def _sell_out(concert: BoardConcert) -> str:
    chance = f"Sells out with {concert.sell_out_probability or 0:.0%}"
    return f"{chance}, around {concert.sell_out_date:%-d %b}." if concert.sell_out_date else f"{chance}."


def _sold_out(concert: BoardConcert) -> str:
    return f"All {concert.capacity or concert.sold:,} places are sold, {concert.days_to_show} days before the show."


def _cancelled(concert: BoardConcert) -> str:
    left = max(concert.sold, 0)
    return f"Cancelled; {left:,} tickets not refunded yet." if left else "Cancelled; every ticket is refunded."


def _new(concert: BoardConcert) -> str:
    return f"On sale since {concert.on_sale_date:%-d %b}." if concert.on_sale_date else "Just on sale."


def _not_on_sale(concert: BoardConcert) -> str:
    return f"On sale from {concert.on_sale_date:%-d %b}." if concert.on_sale_date else "On-sale date not known."


_REASONS: dict[str, Callable[[BoardConcert], str]] = {
    "stalled": _stalled,
    "behind": _pace,
    DATA_GAP: lambda concert: f"No data for {concert.days_without_sale or 'many'} days, like all other concerts.",
    "likely_sell_out": _sell_out,
    "cancelled": _cancelled,
    "sold_out": _sold_out,
    "ahead": _pace,
    "new": _new,
    "no_comparables": lambda _: "No finished concert is similar enough.",
    "on_track": _pace,
    "not_on_sale": _not_on_sale,
}
