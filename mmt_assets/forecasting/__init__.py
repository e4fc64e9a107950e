"""Ticket sales forecasts as a plain library: frames in, frames out, no clock, no warehouse, no cloud.

The functions are loaded when they are first named. With them comes numba's compiler, for half a second, and who only
judges forecasts needs none of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmt_assets.forecasting.demand import forecast_demand
    from mmt_assets.forecasting.inputs import ForecastInputs, ForecastOptions, ForecastResult
    from mmt_assets.forecasting.model import forecast

__all__ = ["ForecastInputs", "ForecastOptions", "ForecastResult", "forecast", "forecast_demand"]

_MODULES = {
    "ForecastInputs": "inputs",
    "ForecastOptions": "inputs",
    "ForecastResult": "inputs",
    "forecast": "model",
    "forecast_demand": "demand",
}


def __getattr__(name: str) -> Any:
    """Load what is named from its module (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
