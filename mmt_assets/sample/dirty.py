"""The broken rows that every real source has, drawn per day, so that they never change either.

Each kind makes up about `DIRTY_SHARE` of the rows. A dirty row looks like a real row of its day with one
thing wrong and a key of its own; only duplicates repeat a real key.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import pandas as pd

from mmt_assets.sample.demand import MAKES_PER_DAY
from mmt_assets.sample.sales import NEVER
from mmt_assets.sample.world import DAY, Stream, date_of, day_start, generator

DIRTY_SHARE = 0.001
"""Share of each kind among the rows of its table."""

_ORDERS_PER_DAY = 274  # 150,000 in 18 months; a fixed figure keeps a day's draw apart from its sales

DirtyOrder = Literal[
    "missing_key",
    "duplicate_key",
    "unknown_concert",
    "zero_quantity",
    "negative_quantity",
    "negative_price",
    "unparsable_time",
    "impossible_time",
    "unknown_status",
    "unknown_currency",
    "foreign_currency",
]
DirtyMake = Literal["missing_fan", "unparsable_time", "duplicate_row"]

_UNPARSABLE_TIMES = ("2026-13-45", "yesterday", "31/02/2025 25:61")
_IMPOSSIBLE_TIMES = ("1900-01-01T00:00:00Z", "9999-12-31T23:59:59Z")

_ORDER_KINDS: tuple[DirtyOrder, ...] = get_args(DirtyOrder)
_MAKE_KINDS: tuple[DirtyMake, ...] = get_args(DirtyMake)
Kind = TypeVar("Kind", DirtyOrder, DirtyMake)
_Row = dict[Any, Any]
_Breaker = Callable[[_Row, np.random.Generator], _Row]


def _later_copy(row: _Row, rng: np.random.Generator) -> _Row:
    """Repeat a row some minutes later on the same day, as a retried upload does."""
    day_end = day_start(int(row["day"]) + 1)
    second = min(row["second"] + int(rng.integers(1, 1_800)), day_end - 1)
    return row | {"second": second}


_ORDER_BREAKERS: dict[DirtyOrder, _Breaker] = {
    "missing_key": lambda row, _: row | {"order_id": None},
    "duplicate_key": _later_copy,
    "unknown_concert": lambda row, rng: row | {"concert_id": f"C9{rng.integers(10**6):06d}"},
    "zero_quantity": lambda row, _: row | {"quantity": 0},
    "negative_quantity": lambda row, _: row | {"quantity": -row["quantity"]},
    "negative_price": lambda row, _: row | {"unit_price": -row["unit_price"]},
    "unparsable_time": lambda row, rng: row | {"ordered_at": str(rng.choice(_UNPARSABLE_TIMES))},
    "impossible_time": lambda row, rng: row | {"ordered_at": str(rng.choice(_IMPOSSIBLE_TIMES))},
    "unknown_status": lambda row, _: row | {"status": "on_hold"},
    "unknown_currency": lambda row, _: row | {"currency": "ZZZ"},
    "foreign_currency": lambda row, _: row | {"currency": "EUR" if row["currency"] == "USD" else "USD"},
}


def _kinds_of_day(rng: np.random.Generator, kinds: tuple[Kind, ...], rows_per_day: int) -> list[Kind]:
    counts = rng.poisson(DIRTY_SHARE * rows_per_day, len(kinds))
    return [kind for kind, count in zip(kinds, counts.tolist(), strict=True) for _ in range(count)]


def dirty_orders_of_day(day: int, orders: pd.DataFrame) -> list[_Row]:
    """Make the dirty orders of one business day.

    Args:
        day: Business day number.
        orders: The day's real orders with order_id, concert_id, second, quantity, unit_price, currency
            and refund_second, in a fixed order.

    Returns:
        Rows with the same columns, and `ordered_at` or `status` where those are what is broken. None on a
        day without orders.
    """
    if orders.empty:
        return []
    rng = generator(Stream.DIRTY_ORDERS, day)
    rows: list[_Row] = []
    for number, kind in enumerate(_kinds_of_day(rng, _ORDER_KINDS, _ORDERS_PER_DAY)):
        row = orders.iloc[int(rng.integers(len(orders)))].to_dict() | {"day": day}
        if kind != "duplicate_key":  # a repeated row shares its original's refund, the others have none
            row |= {"order_id": f"X{date_of(day):%Y%m%d}-{number:03d}", "refund_second": NEVER}
        rows.append(_ORDER_BREAKERS[kind](row, rng))
    return rows


def dirty_makes_of_day(day: int, makes: pd.DataFrame) -> list[_Row]:
    """Make the dirty makes of one business day.

    Args:
        day: Business day number.
        makes: The day's real makes with fan_id, artist, city, country and second, in a fixed order.

    Returns:
        Rows with the same columns, and `made_at` where that is what is broken.
    """
    if makes.empty:
        return []
    rng = generator(Stream.DIRTY_MAKES, day)
    rows: list[_Row] = []
    for kind in _kinds_of_day(rng, _MAKE_KINDS, MAKES_PER_DAY):
        row = makes.iloc[int(rng.integers(len(makes)))].to_dict()
        match kind:
            case "missing_fan":
                row |= {"fan_id": None, "second": day_start(day) + int(rng.integers(DAY))}
            case "unparsable_time":
                row |= {"made_at": str(rng.choice(_UNPARSABLE_TIMES))}
            case _:  # duplicate_row: the same again, to the second
                pass
        rows.append(row)
    return rows
