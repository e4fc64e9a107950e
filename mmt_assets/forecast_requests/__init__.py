"""Turns messages into runs: none is lost, none makes two runs (docs/decisions, requests in two phases).

A tick takes messages and asks for runs; only a later tick, which sees that the runs exist, acknowledges them. Dagster
stores a tick's cursor, run requests and reserved run ids together, so a kill between any two steps leaves either the
message with Pub/Sub or the request with Dagster.
"""

SENSOR_NAME = "forecast_request_sensor"
