"""The forecast library alone: python -m benchmarks.bare_forecast WAREHOUSE DAY --calls 2.

Reads a day's inputs from a DuckDB file and makes the library's calls of a daily run: all concerts, the fans' demand,
and proposals. Prints the seconds of each round of calls as JSON.
"""

import argparse
import json
import time
from datetime import date
from pathlib import Path

from mmt_assets.forecasting import ForecastOptions, forecast, forecast_demand
from mmt_assets.forecasting.proposals import ProposalOptions, propose_concerts
from mmt_assets.warehouse import DuckDBWarehouse, Statement
from mmt_assets.worker.work import read_inputs


def main() -> None:
    """Read once, call as often as asked, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path, help="DuckDB file with raw and features")
    parser.add_argument("day", type=date.fromisoformat, help="as-of date")
    parser.add_argument("--calls", type=int, default=2, help="rounds of calls; the first one loads the models")
    given = parser.parse_args()
    with DuckDBWarehouse(given.warehouse).open(read_only=True) as session:
        inputs = read_inputs(session, given.day, "UTC")
        makes = session.query(Statement.from_file("forecasts/demand_history.sql", as_of=given.day))
    seconds = list[float]()
    concerts = 0
    for _ in range(given.calls):
        started = time.perf_counter()
        made = forecast(inputs, given.day, options=ForecastOptions())
        demand = forecast_demand(makes, given.day)
        propose_concerts(inputs, makes, demand, given.day, ProposalOptions())
        seconds.append(time.perf_counter() - started)
        concerts = len(made.outlook)
    print(json.dumps({"seconds": seconds, "concerts": concerts}))


if __name__ == "__main__":
    main()
