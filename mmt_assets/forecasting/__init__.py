"""Ticket sales forecasts as a plain library: frames in, frames out, no clock, no warehouse, no cloud."""
