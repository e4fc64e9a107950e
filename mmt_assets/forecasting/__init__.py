"""Ticket sales forecasts as a plain library: frames in, frames out, no clock, no warehouse, no cloud."""

from mmt_assets.forecasting.demand import forecast_demand
from mmt_assets.forecasting.inputs import ForecastInputs, ForecastOptions, ForecastResult
from mmt_assets.forecasting.model import forecast

__all__ = ["ForecastInputs", "ForecastOptions", "ForecastResult", "forecast", "forecast_demand"]
