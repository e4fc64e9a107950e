"""A world small enough to forecast in a test: fifteen concerts in 25 days, loaded by the real pipeline."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

FIRST, LAST = date(2026, 1, 1), date(2026, 1, 25)
DAY_TABLES = (
    "forecasts/ticket_sales",
    "forecasts/concert_outlook",
    "forecasts/booking_curves",
    "forecasts/city_demand_forecast",
    "forecasts/concert_proposals",
)
# Its type lives in conftest.py, which nobody imports.
Pipeline = Any


def world(pipeline: Pipeline) -> dict[str, list[dict[str, Any]]]:
    """Twelve finished concerts and three that are ahead, on sale for two weeks each, with some refunds."""
    random = np.random.default_rng(7)
    concerts, orders, makes = [], [], []
    for number in range(15):
        show = FIRST + timedelta(days=10 + number if number < 12 else 20 + 4 * number)
        on_sale = show - timedelta(days=14) if number < 12 else FIRST + timedelta(days=10)
        name = f"c{number}"
        concerts.append(
            pipeline.concert(name, show_at=f"{show} 10:00:00", on_sale_at=f"{on_sale} 00:00:00", capacity=400)
        )
        for day in pd.date_range(max(on_sale, FIRST), min(show, LAST + timedelta(days=10))):
            for row in range(int(random.poisson(4))):
                refund = {"status": "refunded", "status_at": f"{day + pd.Timedelta(days=3):%F} 04:00:00"}
                orders.append(
                    pipeline.order(
                        f"{name}-{day:%m%d}-{row}",
                        f"{day:%F} 03:00:00",
                        concert_id=name,
                        quantity=int(random.integers(1, 5)),
                        **(refund if random.random() < 0.1 else {}),
                    )
                )
        makes += [pipeline.make(f"fan-{number}-{fan}", f"{FIRST} 03:00:00") for fan in range(5)]
    return {"concerts": concerts, "ticket_orders": orders, "makes": makes}


def known_by(rows: dict[str, list[dict[str, Any]]], last: date) -> dict[str, list[dict[str, Any]]]:
    """The source as it stood at the end of a day (03:00 UTC is that day's noon in Seoul)."""
    end = f"{last} 14:59:59"
    orders = []
    for row in rows["ticket_orders"]:
        if row["ordered_at"] <= end:
            is_refund_known = row["status_at"] is not None and row["status_at"] <= end
            orders.append(row if is_refund_known else {**row, "status": "paid", "status_at": None})
    return {**rows, "ticket_orders": orders}


@pytest.fixture
def loaded(new_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """Twenty-five days of raw and features."""
    pipeline = new_pipeline(first_day=FIRST, last_day=LAST)
    pipeline.put(**known_by(world(pipeline), LAST))
    pipeline.load(FIRST, LAST)
    return pipeline
