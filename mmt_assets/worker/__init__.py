"""The analysis server's work: `python -m mmt_assets.worker`, started through Dagster Pipes on any machine."""
