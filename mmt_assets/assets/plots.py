"""What the UI shows of one concert's forecast: a verdict in words and a small plot."""

import base64
import io
from collections.abc import Sequence
from datetime import date
from importlib import import_module
from threading import Thread
from typing import Any

import dagster as dg
import pandas as pd
from dagster._core.definitions.metadata import RawMetadataValue

from mmt_assets.warehouse import Session, Statement

# A capacity is drawn when it is at most this many times what is expected.
_SHOWN_CAPACITY = 4
_HISTORY = """
SELECT sales_date, tickets_net
FROM features.concert_sales
WHERE concert_id = @concert_id AND sales_date <= @as_of
ORDER BY sales_date
"""


def load_matplotlib() -> None:
    """Import what draws in the background: it takes most of a second, while the run waits for its worker anyway."""
    Thread(target=import_module, args=("matplotlib.backends.backend_agg",), daemon=True).start()


def concert_rows(session: Session, concert_id: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A concert's current forecast by sales date, and its sales until the as-of date."""
    forecast = session.query(
        Statement(
            "SELECT * FROM forecasts.concert_forecast WHERE concert_id = @concert_id ORDER BY sales_date",
            {"concert_id": concert_id},
        )
    )
    as_of = pd.Timestamp(forecast.iloc[0]["as_of_date"]).date()
    history = session.query(Statement(_HISTORY, {"concert_id": concert_id, "as_of": as_of}))
    return forecast, history


def concert_metadata(forecast: pd.DataFrame, history: pd.DataFrame) -> dict[str, RawMetadataValue]:
    """Verdict, plot and key figures of what `concert_rows` gave."""
    return {
        **outlook_metadata(forecast.iloc[0]),
        "plot": dg.MetadataValue.md(f"![forecast](data:image/png;base64,{_png(history, forecast)})"),
        "dagster/row_count": len(forecast),
    }


def refreshed_metadata(
    session: Session, as_of: date, concert_ids: Sequence[str]
) -> dict[str, dict[str, RawMetadataValue]]:
    """Verdict and key figures of these concerts' outlook of a day, by concert."""
    rows = Statement(
        "SELECT * FROM forecasts.concert_outlook WHERE as_of_date = @as_of AND concert_id IN UNNEST(@concert_ids)",
        {"as_of": as_of, "concert_ids": tuple(concert_ids)},
    )
    return {str(row["concert_id"]): outlook_metadata(row) for _, row in session.query(rows).iterrows()}


def outlook_metadata(outlook: "pd.Series[Any]") -> dict[str, RawMetadataValue]:
    """Verdict and key figures of one outlook; Dagster draws the numbers over time."""
    figures: dict[str, RawMetadataValue] = {
        "verdict": verdict(outlook),
        "as_of_date": pd.Timestamp(outlook["as_of_date"]).date().isoformat(),
        "method": str(outlook["method"]),
        "sold": int(outlook["sold"]),
    }
    drawn = ("final_p10", "final_p50", "final_p90", "sell_out_probability", "pace_pct")
    return figures | {name: float(outlook[name]) for name in drawn if pd.notna(outlook[name])}


def verdict(outlook: "pd.Series[Any]") -> str:
    """One line for people: what was sold, what is expected, how likely a sell-out is."""
    capacity = f" of {int(outlook['capacity']):,}" if pd.notna(outlook["capacity"]) else ""
    sell_out = outlook["sell_out_probability"]
    chance = f"; sell-out {sell_out:.0%}" if pd.notna(sell_out) else "; capacity unknown"
    pace = outlook["pace_pct"]
    ahead = f"; {abs(pace):.0f}% {'ahead of' if pace >= 0 else 'behind'} comparables" if pd.notna(pace) else ""
    return (
        f"{outlook['artist']} in {outlook['city']}, {int(outlook['days_to_show'])} days to the show: "
        f"{int(outlook['sold']):,}{capacity} sold, {outlook['final_p50']:,.0f} expected "
        f"({outlook['final_p10']:,.0f} to {outlook['final_p90']:,.0f}){chance}{ahead}. "
        f"Status: {str(outlook['status_flag']).replace('_', ' ')}."
    )


def _png(history: pd.DataFrame, forecast: pd.DataFrame) -> str:
    """History, forecast fan and capacity as a small PNG, base64."""
    # Takes a second to import, which nothing but a plot should pay.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(6.4, 3.2), dpi=80, layout="constrained")
    axes = figure.add_subplot()
    days = pd.to_datetime(history["sales_date"])
    axes.step(days, history["tickets_net"].cumsum(), where="post", color="black", label="sold (net)")
    future = pd.to_datetime(forecast["sales_date"])
    axes.fill_between(
        future,
        forecast["cumulative_tickets_p10"],
        forecast["cumulative_tickets_p90"],
        alpha=0.3,
        color="tab:blue",
        label="80% interval",
    )
    axes.plot(future, forecast["cumulative_tickets_p50"], color="tab:blue", label="forecast (p50)")
    capacity = forecast.iloc[0]["capacity"]
    # Far above everything it would press the curves to the floor; the verdict names it anyway.
    reached = max(history["tickets_net"].sum(), forecast["cumulative_tickets_p90"].max())
    if pd.notna(capacity) and float(capacity) <= _SHOWN_CAPACITY * reached:
        axes.axhline(float(capacity), color="tab:red", linestyle="--", label="capacity")
    axes.set_ylabel("tickets")
    # The fonts at hand know few scripts, and artists many: the name stands in the verdict.
    axes.set_title(
        _plain(f"{forecast.iloc[0]['concert_id']}, as of {forecast.iloc[0]['as_of_date']:%Y-%m-%d}"), fontsize=10
    )
    axes.tick_params(axis="x", labelrotation=30, labelsize=8)
    axes.set_ylim(bottom=0)
    figure.legend(fontsize=8, loc="outside lower center", ncols=4)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()


def _plain(text: str) -> str:
    """Text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")
