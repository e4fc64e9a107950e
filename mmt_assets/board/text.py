"""Numbers and days as people read them. A minus is a minus sign, what is not known is a dash."""

from collections.abc import Callable
from datetime import UTC, date, datetime

UNKNOWN = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"


def tickets(value: float | None) -> str:
    """A count: 1,234."""
    return UNKNOWN if value is None else f"{_whole(value):,}".replace("-", _MINUS)


def signed(value: float | None) -> str:
    """A difference: +12 or 0, with a minus sign below."""
    if value is None:
        return UNKNOWN
    return f"+{tickets(value)}" if _whole(value) > 0 else tickets(value)


def percent(value: float | None) -> str:
    """A share: 63%."""
    return UNKNOWN if value is None else f"{_whole(100 * value)}%".replace("-", _MINUS)


def signed_percent(value: float | None) -> str:
    """A relative difference: +12%."""
    return UNKNOWN if value is None else f"{signed(100 * value)}%"


def plain(value: float | None) -> str:
    """A number for scripts; empty when it is not known."""
    return "" if value is None else f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"  # noqa: PLR2004


def coordinate(value: float) -> str:
    """A coordinate of a drawing."""
    return f"{value:.1f}"


def day(value: date) -> str:
    """24 Nov 2026."""
    return f"{value.day} {value:%b %Y}"


def short_day(value: date) -> str:
    """24 Nov."""
    return f"{value.day} {value:%b}"


def weekday(value: date) -> str:
    """Tuesday, 24 Nov 2026."""
    return f"{value:%A}, {day(value)}"


def instant(value: datetime | None) -> str:
    """24 Nov 2026, 21:05 UTC."""
    return UNKNOWN if value is None else f"{day(value.astimezone(UTC))}, {value.astimezone(UTC):%H:%M} UTC"


def until_show(days: int) -> str:
    """Days to the show in words."""
    return {0: "today", 1: "in 1 day"}.get(days, f"in {days} days")


def words(name: str) -> str:
    """A name of a column or model without underscores."""
    return name.replace("_", " ")


def _whole(value: float) -> int:
    # Half up, as the page's script rounds: Python's own halves go to the even neighbour.
    return int(value + 0.5) if value >= 0 else -int(0.5 - value)


FILTERS: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        tickets,
        signed,
        percent,
        signed_percent,
        plain,
        coordinate,
        day,
        short_day,
        weekday,
        instant,
        until_show,
        words,
    )
}
