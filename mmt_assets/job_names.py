"""Names of the jobs, for whatever finds their runs and needs nothing else of them."""

DAILY_JOB = "daily_forecast_job"
CONCERT_JOB = "concert_forecast_job"
SCENARIO_JOB = "concert_scenario_job"
BOARD_JOB = "outlook_board_job"
LEDGER_JOB = "vm_ledger_job"
RETENTION_JOB = "retention_job"
# What is materialised in the UI runs in a job of Dagster's own.
OUR_JOBS = (DAILY_JOB, CONCERT_JOB, SCENARIO_JOB, BOARD_JOB, LEDGER_JOB, RETENTION_JOB, "__ASSET_JOB")
