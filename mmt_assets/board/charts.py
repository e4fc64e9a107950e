"""Cumulative net sales by days to the show: the points that the page draws, thinned to what an eye can tell apart."""

from collections.abc import Iterable
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmt_assets.board.concerts import BoardConcert
from mmt_assets.board.read import BoardFrames
from mmt_assets.board.values import day, number

MOST_POINTS = 80
Point = list[float]
ByDay = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
_NOTHING: ByDay = (np.empty(0, dtype=np.int64), np.empty(0))


def concert_series(frames: BoardFrames, concerts: Iterable[BoardConcert]) -> dict[str, dict[str, Any]]:
    """Points of each concert's chart.

    Returns:
        By concert: `sold`, [days to the show, net tickets so far] after each day with a sale, from the eve of the
        first day of sale to the as-of date; `ahead`, [days to the show, p10, p50, p90] from the next day to the show.
    """
    sales = _net_by_day(frames.sales)
    paths = _by_concert(frames.paths, frames.paths[["p10", "p50", "p90"]].astype(float).round(1).to_numpy())
    return {
        concert.concert_id: {
            "sold": _sold(sales.get(concert.concert_id, _NOTHING), concert),
            "ahead": _ahead(paths.get(concert.concert_id, _NOTHING), concert.show_date),
        }
        for concert in concerts
    }


def comparable_series(frames: BoardFrames, ids: set[str]) -> dict[str, dict[str, Any]]:
    """What finished concerts had sold by days to the show, with who they were and what they sold in the end."""
    sales = _net_by_day(frames.sales)
    series = {}
    for row in frames.concerts[frames.concerts["concert_id"].isin(ids)].to_dict("records"):
        concert, show = str(row["concert_id"]), day(row["show_date"])
        points = _cumulative(sales.get(concert, _NOTHING), show, until=show)
        series[concert] = {
            "artist": str(row["artist"]),
            "city": str(row["city"]),
            "show_date": show.isoformat(),
            "capacity": number(row["capacity"]),
            "final": points[-1][1] if points else 0,
            "sold": thin(points),
        }
    return series


def thin(points: list[Point]) -> list[Point]:
    """At most `MOST_POINTS` of the points, the first and the last among them."""
    if len(points) <= MOST_POINTS:
        return points
    kept = np.unique(np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int))
    return [points[k] for k in kept]


def _sold(sales: ByDay, concert: BoardConcert) -> list[Point]:
    points = _cumulative(sales, concert.show_date, until=concert.as_of_date)
    if concert.on_sale_date and concert.on_sale_date <= concert.as_of_date:
        begin = (concert.show_date - concert.on_sale_date).days
        # The line rises from nothing, also where the first day sold the most.
        points.insert(0, [max([begin, *(point[0] for point in points[:1])]) + 1, 0])
    if not points:
        return []
    # The outlook's own number: what was known when it was made.
    today: Point = [concert.days_to_show, concert.sold]
    return [*thin([point for point in points if point[0] > concert.days_to_show]), today]


def _ahead(path: ByDay, show: date) -> list[Point]:
    days, quantiles = path
    return thin([[int(show.toordinal() - d), *map(_short, row)] for d, row in zip(days, quantiles, strict=True)])


def _cumulative(sales: ByDay, show: date, until: date) -> list[Point]:
    days, net = sales
    shown = days <= until.toordinal()
    return np.column_stack([show.toordinal() - days[shown], np.cumsum(net[shown])]).astype(int).tolist()


def _net_by_day(sales: pd.DataFrame) -> dict[str, ByDay]:
    return _by_concert(sales, (sales["tickets_sold"] - sales["tickets_refunded"]).to_numpy(dtype=float))


def _by_concert(frame: pd.DataFrame, values: npt.NDArray[np.float64]) -> dict[str, ByDay]:
    """Days (proleptic ordinals, as `date.toordinal` counts) and values of each concert, oldest first."""
    days = frame["sales_date"].to_numpy(dtype="datetime64[D]").astype(np.int64) + date(1970, 1, 1).toordinal()
    rows = frame.groupby("concert_id", sort=False).indices
    return {str(concert): (days[where], values[where]) for concert, where in rows.items()}


def _short(value: float) -> float:
    """Whole numbers without a decimal point: a third of the page's size."""
    return int(value) if value == int(value) else float(value)
