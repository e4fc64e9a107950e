"""Additive and multiplicative pick-up, the yardsticks: what finished concerts still sold from the same days to show."""

import numpy as np
import pandas as pd

from mmt_assets.forecasting.inputs import timestamps


def pickup_remaining(concerts: pd.DataFrame, sales: pd.DataFrame, targets: pd.DataFrame) -> pd.DataFrame:
    """Forecast the net tickets that are still to come, with what was known on each target's day alone.

    Additive: the mean of the tickets that finished concerts still sold. Multiplicative: the tickets sold so far times
    the growth of finished concerts as a whole (Weatherford & Kimes 2003).

    Args:
        concerts: concert_id, show_date; those whose show was before a target's day teach it.
        sales: concert_id, sales_date, net (tickets of that day less refunds).
        targets: as_of_date, days_to_show (at least 1), sold (net tickets so far).

    Returns:
        Columns additive and multiplicative, indexed as `targets`; additive is 0 where no concert has finished.
    """
    if targets.empty:
        return pd.DataFrame({"additive": [], "multiplicative": []}, index=targets.index, dtype=np.float64)
    order = concerts[["concert_id", "show_date"]].assign(show_date=timestamps(concerts["show_date"]))
    order = order.sort_values("show_date", ignore_index=True)
    joined = sales.merge(order.reset_index(names="row"), on="concert_id")
    left = (joined["show_date"] - timestamps(joined["sales_date"])).dt.days.to_numpy()
    longest = int(targets["days_to_show"].max())
    counted = left >= 0
    # Column b: tickets sold b days before the show; the last one everything earlier.
    cell = joined["row"].to_numpy()[counted] * (longest + 1) + np.minimum(left[counted], longest)
    net = joined["net"].to_numpy(dtype=np.float64)[counted]
    by_day = np.bincount(cell, net, len(order) * (longest + 1)).reshape(len(order), longest + 1)
    # Row k: the first k concerts together; column h: tickets until h days before the show.
    until = np.zeros((len(order) + 1, longest + 1))
    until[1:] = np.cumsum(np.cumsum(by_day[:, ::-1], axis=1)[:, ::-1], axis=0)
    days = timestamps(targets["as_of_date"]).to_numpy()
    finished = np.searchsorted(order["show_date"].to_numpy(), days, side="left")
    final, then = until[finished, 0], until[finished, targets["days_to_show"].to_numpy(dtype=np.int64)]
    return pd.DataFrame(
        {
            "additive": (final - then) / np.maximum(finished, 1),
            "multiplicative": targets["sold"].to_numpy(dtype=np.float64) * (final / np.maximum(then, 1.0) - 1),
        },
        index=targets.index,
    )
