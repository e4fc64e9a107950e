"""Ticket-sales forecasts for concerts as a Dagster code location."""
