"""Read inputs, forecast, write tables, export: one job, on whatever machine it runs."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
from dagster_pipes import PipesContext

from mmt_assets.contracts import (
    BOOKING_CURVES,
    CITY_DEMAND_FORECAST,
    CONCERT_FORECAST,
    CONCERT_OUTLOOK,
    CONCERT_PROPOSALS,
    OUTLOOK_CHANGES,
    PUBLISHED_OUTLOOK,
    TICKET_SALES,
)
from mmt_assets.forecasting import ForecastInputs, ForecastOptions, ForecastResult, forecast, forecast_demand
from mmt_assets.forecasting.changes import Earlier
from mmt_assets.forecasting.demand import COLUMNS as DEMAND_COLUMNS
from mmt_assets.forecasting.inputs import timestamps
from mmt_assets.forecasting.model import Learn, learn_task
from mmt_assets.forecasting.proposals import COLUMNS as PROPOSAL_COLUMNS
from mmt_assets.forecasting.proposals import propose_concerts
from mmt_assets.forecasting.publishing import Spread
from mmt_assets.spark.chunks import spread_on_spark
from mmt_assets.spark.session import spark_session
from mmt_assets.warehouse import (
    InsertMissing,
    ReplaceNewer,
    ReplaceSlice,
    Session,
    Slice,
    StaleWriteError,
    Statement,
    Usage,
    Write,
)
from mmt_assets.worker.exports import export_rows
from mmt_assets.worker.job import WorkerJob
from mmt_assets.worker.kept_models import KeptModels
from mmt_assets.worker.link import UNLINKED, RunLink
from mmt_assets.worker.tables import ForecastTables, build_tables

_PROGRESS_SECONDS = 2.0
_NAMED_FAILURES = 20
_ACTIVE = ("announced", "on_sale")


def run_job(job: WorkerJob, pipes: PipesContext, link: RunLink | None = None) -> None:
    """Make the job's forecasts and report what was written.

    Args:
        job: What to do.
        pipes: Where to report.
        link: Link to the run, where there is one: it must be current when the tables are written.

    Raises:
        mmt_assets.worker.link.RunNotCurrentError: The run may have been replaced; nothing was written.
        mmt_assets.warehouse.WarehouseError: The warehouse is busy, refuses a stale run or a row.
    """
    seconds = _Stopwatch()
    with job.warehouse.connect().open(read_only=True, labels=job.labels) as session:
        inputs = {day: read_inputs(session, day, job.timezone) for day in job.as_of_dates}
        # One read of the whole history serves every as-of date; a single concert needs none.
        makes = None if job.concert_id else session.query(_demand_history(job.as_of_dates[-1]))
        earlier = read_earlier(session, job)
        usage = session.usage
    seconds.lap("read")
    if job.concert_id:
        require_active(job.concert_id, inputs)
    pipes.log.info(f"read inputs for {len(inputs)} as-of dates in {seconds['read']:.1f} s")

    tables = []
    with _spread(job) as spread:
        for number, (day, known) in enumerate(inputs.items(), start=1):
            result = forecast(
                known,
                day,
                options=ForecastOptions(processes=job.processes or os.cpu_count() or 1),
                concert_ids=[job.concert_id] if job.concert_id else None,
                progress=_progress(pipes, f"as of {day} ({number} of {len(inputs)})"),
                spread=spread,
                earlier=_earlier(earlier, tables, inputs) if _is_explained(job, day) else None,
                learn=learner(job, day, pipes),
            )
            _report_failures(job, pipes, day, result)
            demand, proposals = _of_fans(job, makes, known, day)
            tables.append(_with_provenance(job, known, day, result, demand, proposals))
    seconds.lap("fit")

    _write(job, tables, pipes, seconds, link or UNLINKED, usage)


def learner(job: WorkerJob, day: date, pipes: PipesContext) -> Learn:
    """How to learn for a day: from what was kept, where it is the live day's or one concert is asked for."""
    if job.models is None or not (job.concert_id or day == job.live_date):
        return learn_task
    return KeptModels(Path(job.models), job.lock_hash, pipes).learn


@contextmanager
def _spread(job: WorkerJob) -> Iterator[Spread | None]:
    """Where the concerts are forecast: on a Spark cluster, or on this machine (None)."""
    if job.spark_master is None:
        yield None
        return
    with spark_session(job.spark_master) as session:
        yield spread_on_spark(session)


def read_inputs(session: Session, as_of: date, timezone_name: str) -> ForecastInputs:
    """What was known at the end of `as_of`, and nothing else."""

    def rows(name: str) -> pd.DataFrame:
        return session.query(Statement.from_file(f"forecasts/{name}.sql", as_of=as_of, timezone=timezone_name))

    return ForecastInputs(concerts=rows("concerts_as_of"), sales=rows("sales_history"), demand=rows("fans_as_of"))


def read_earlier(session: Session, job: WorkerJob) -> Earlier | None:
    """The newest stored forecast before the job's first day, where the job's live day is to be compared with it."""
    first = job.as_of_dates[0]
    if not _is_explained(job, first):
        return None
    written = session.query(Statement.from_file("board/written_tables.sql"))
    if CONCERT_OUTLOOK.table not in set(written["table_name"]):
        return None
    days = session.query(Statement.from_file("board/days.sql", until=first - timedelta(days=1)))
    if days.empty:
        return None
    day = pd.Timestamp(days["as_of_date"].iloc[0]).date()
    said = session.query(Statement.from_file("board/earlier_outlook.sql", as_of=day))
    return Earlier(day, read_inputs(session, day, job.timezone), said[["concert_id", "final_p50"]])


def _is_explained(job: WorkerJob, day: date) -> bool:
    """Whether what changed since the day before is worked out: for the live day of all concerts."""
    return job.concert_id is None and day == job.live_date


def _earlier(
    stored: Earlier | None, made: Sequence[ForecastTables], inputs: Mapping[date, ForecastInputs]
) -> Earlier | None:
    """The forecast before a day: the one that this job has just made, else the stored one."""
    if not made:
        return stored
    last = made[-1]
    return Earlier(last.as_of, inputs[last.as_of], last.concert_outlook[["concert_id", "final_p50"]])


def _demand_history(as_of: date) -> Statement:
    return Statement.from_file("forecasts/demand_history.sql", as_of=as_of)


def _of_fans(
    job: WorkerJob, makes: pd.DataFrame | None, known: ForecastInputs, as_of: date
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Forecast the demand from the makes until `as_of`, and propose concerts where it is."""
    if makes is None:
        return pd.DataFrame(columns=list(DEMAND_COLUMNS)), pd.DataFrame(columns=list(PROPOSAL_COLUMNS))
    until = makes[timestamps(makes["demand_date"]) <= pd.Timestamp(as_of)]
    demand = forecast_demand(until, as_of)
    return demand, propose_concerts(known, until, demand, as_of, job.proposals)


def _report_failures(job: WorkerJob, pipes: PipesContext, as_of: date, result: ForecastResult) -> None:
    """Say which concerts models failed for: those of the prior alone, and those without any forecast.

    Raises:
        NotForecastableError: The one concert asked for has no forecast.
    """
    fallen = result.outlook[result.outlook["method"] == "pooled_prior"]
    for row in fallen.head(_NAMED_FAILURES).itertuples():
        pipes.log.warning(f"as of {as_of}: {row.concert_id} has the pooled prior's forecast: {row.method_reason}")
    for concert, why in list(result.failures.items())[:_NAMED_FAILURES]:
        pipes.log.error(f"as of {as_of}: {concert} has no forecast: {why}")
    if len(fallen) or result.failures:
        pipes.log.warning(
            f"as of {as_of}: models failed for {len(fallen) + len(result.failures)} concerts, "
            f"{len(result.failures)} of them have no forecast; all others are not touched by it"
        )
    if job.concert_id in result.failures:
        raise NotForecastableError(f"concert {job.concert_id} as of {as_of}: {result.failures[job.concert_id]}")


class NotForecastableError(Exception):
    """The concert cannot be forecast as of that day; the message says why."""


def require_active(concert_id: str, inputs: Mapping[date, ForecastInputs]) -> None:
    """Refuse a concert that is not known or not ahead."""
    for day, known in inputs.items():
        concert = known.concerts[known.concerts["concert_id"] == concert_id]
        if concert.empty:
            raise NotForecastableError(f"concert {concert_id} is not in raw/concerts as of {day}")
        row = concert.iloc[0]
        if row["status"] not in _ACTIVE:
            raise NotForecastableError(
                f"concert {concert_id} is {row['status']} as of {day} (show on {row['show_date']:%Y-%m-%d}): "
                "only announced and on-sale concerts are forecast"
            )


def _with_provenance(
    job: WorkerJob,
    inputs: ForecastInputs,
    day: date,
    result: ForecastResult,
    demand: pd.DataFrame,
    proposals: pd.DataFrame,
) -> ForecastTables:
    provenance = {
        "origin": "live" if day == job.live_date else "backfill",
        "computed_at": datetime.now(UTC),
        "run_id": job.run_id,
        "run_created_at": job.run_created_at,
        "commit": job.commit,
        "lock_hash": job.lock_hash,
    }
    return build_tables(inputs, result, demand, proposals, day, provenance)


def _progress(pipes: PipesContext, what: str) -> Callable[[int, int], None]:
    """A callback that logs concerts done of total, at most every two seconds and at the end."""
    last = [0.0]

    def report(done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now - last[0] >= _PROGRESS_SECONDS:
            last[0] = now
            pipes.log.info(f"{what}: {done} of {total} concerts forecast")

    return report


def _write(
    job: WorkerJob,
    tables: list[ForecastTables],
    pipes: PipesContext,
    seconds: "_Stopwatch",
    link: RunLink,
    usage: Usage,
) -> None:
    live = [table for table in tables if table.as_of == job.live_date or job.concert_id]
    writes: list[Write] = []
    if not job.concert_id:
        part = Slice(first=job.as_of_dates[0], last=job.as_of_dates[-1])
        writes += [
            ReplaceSlice(contract, part, _stacked([rows(table) for table in tables]))
            for contract, rows in _DAY_TABLES.items()
        ]
    for table in live:
        writes.append(ReplaceNewer(CONCERT_FORECAST, table.concert_forecast, "concert_id", _NEWER_BY))
        if table.as_of == job.live_date:
            writes.append(InsertMissing(PUBLISHED_OUTLOOK, table.concert_outlook))
        if _is_explained(job, table.as_of):
            day = Slice(first=table.as_of, last=table.as_of)
            writes.append(ReplaceSlice(OUTLOOK_CHANGES, day, table.outlook_changes))
    with job.warehouse.connect().open(labels=job.labels) as session:
        # After the wait for the file, which may have been long.
        link.require_current()
        results = session.write(writes, fence=job.fence)
        current = (
            session.query_arrow(Statement("SELECT * FROM forecasts.concert_forecast")) if live and job.exports else None
        )
        skipped = {concert for result in results for concert in result.skipped}
        if job.concert_id in skipped:
            _accept_the_newer(session, job, pipes)
        usage += session.usage
    seconds.lap("write")

    if job.exports:
        _export(Path(job.exports), [] if job.concert_id else tables, current)
        seconds.lap("export")

    made = sorted({c for table in live for c in table.concert_outlook["concert_id"]} - skipped)
    if not job.concert_id:
        for contract, result in zip(_DAY_TABLES, results[: len(_DAY_TABLES)], strict=True):
            pipes.report_asset_materialization(
                asset_key=f"forecasts/{contract.name}",
                metadata={
                    "dagster/row_count": result.rows,
                    **(_totals(tables[-1].concert_outlook) if contract is CONCERT_OUTLOOK else {}),
                    **seconds.metadata(),
                },
            )
    report = {"refreshed": made, "skipped": sorted(skipped), "seconds": seconds.laps, "usage": asdict(usage)}
    pipes.report_custom_message(report)


def _stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """All rows; those of one day, which may be millions, as they are."""
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _totals(outlook: pd.DataFrame) -> dict[str, float]:
    """Figures over all concerts of a day, which the UI draws over time."""
    flags = outlook["status_flag"].value_counts()
    counts = {f"concerts_{flag}": int(count) for flag, count in flags.items()}
    return {"tickets_sold": int(outlook["sold"].sum()), "tickets_expected": float(outlook["final_p50"].sum()), **counts}


def _export(directory: Path, tables: list[ForecastTables], current: pa.Table | None) -> None:
    for table in tables:
        for contract, rows in _DAY_TABLES.items():
            export_rows(rows(table), directory, contract, table.as_of)
    if current is not None:
        export_rows(current, directory, CONCERT_FORECAST)


def _accept_the_newer(session: Session, job: WorkerJob, pipes: PipesContext) -> None:
    """A run that was asked for later may have come first: its forecast as of the same day stays, and is as good.

    Raises:
        mmt_assets.warehouse.StaleWriteError: The stored forecast is as of a later day.
    """
    [as_of] = job.as_of_dates
    stored = session.query(
        Statement(
            "SELECT MAX(as_of_date) AS as_of_date FROM forecasts.concert_forecast WHERE concert_id = @concert_id",
            {"concert_id": job.concert_id},
        )
    )
    newest = pd.Timestamp(stored["as_of_date"].iloc[0]).date()
    if newest > as_of:
        raise StaleWriteError(
            f"forecasts.concert_forecast already has a newer forecast of {job.concert_id}, as of {newest}, than as of "
            f"{as_of}; it stays"
        )
    pipes.log.info(f"a newer run has forecast {job.concert_id} as of {as_of} meanwhile: its forecast stays")


_NEWER_BY = ("as_of_date", "run_created_at")
_DAY_TABLES: dict = {
    TICKET_SALES: lambda table: table.ticket_sales,
    CONCERT_OUTLOOK: lambda table: table.concert_outlook,
    BOOKING_CURVES: lambda table: table.booking_curves,
    CITY_DEMAND_FORECAST: lambda table: table.city_demand_forecast,
    CONCERT_PROPOSALS: lambda table: table.concert_proposals,
}


class _Stopwatch:
    """Seconds of each part of the job."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = round(now - self._last, 3)
        self._last = now

    def __getitem__(self, name: str) -> float:
        return self.laps[name]

    def metadata(self) -> dict[str, float]:
        return {f"{name}_seconds": value for name, value in self.laps.items()}
