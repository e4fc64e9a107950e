"""All writes of one call as one script with one transaction.

BigQuery's transactions see a snapshot, and two of them may not change rows of one table at once: the later one is
aborted and tried again. Inserted rows alone do not count as a change, though, and a DELETE that finds no row may not
either. So every transaction first changes one row that is always there, in `operations.write_fences`: of two runs
that write at the same time one is aborted, reads the fences again when it comes back, and is then refused or goes on.
"""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd
from google.cloud import bigquery

from mmt_assets.contracts import WRITE_FENCES, TableContract
from mmt_assets.warehouse.bigquery_jobs import JobFailedError
from mmt_assets.warehouse.bigquery_schema import cast_exactly, field
from mmt_assets.warehouse.checks import check_columns, check_staged
from mmt_assets.warehouse.compose import Fragment, columns, compose, join, parameter, table
from mmt_assets.warehouse.duckdb_writes import stage_rows
from mmt_assets.warehouse.fences import FenceCheck
from mmt_assets.warehouse.plans import Figure, Step, fenced_slice, plan, renamed, result, staged_name
from mmt_assets.warehouse.protocol import ContractError, Fence, Statement, Value, WarehouseError, Write, WriteResult

if TYPE_CHECKING:
    from mmt_assets.warehouse.bigquery import BigQuerySession

# The row that every transaction changes: it names no table.
_LOCK = "(every write)"
_NO_LOCK = "mmt: no lock row"
_STALE = re.compile(r"mmt: stale write (\d+)")
_OUTCOMES = "outcomes"
_OUTCOME_COLUMNS = (
    bigquery.SchemaField("attempt", "INTEGER"),
    bigquery.SchemaField("position", "INTEGER"),
    bigquery.SchemaField("measures", "STRING"),
    bigquery.SchemaField("figure", "INTEGER"),
    bigquery.SchemaField("skipped", "STRING"),
)


def write_all(session: "BigQuerySession", writes: Sequence[Write], fence: Fence) -> list[WriteResult]:
    """Stage and check the rows of all writes, then carry them out in one transaction.

    Raises:
        ContractError: Rows break their contract or lie outside their slice.
        StaleWriteError: A newer run wrote one of the slices.
        WarehouseBusyError: Other runs wrote at the same time until the deadline.
    """
    for position, write in enumerate(writes):
        if isinstance(write.rows, pd.DataFrame):
            _stage_frame(session, write, write.rows, position)
        else:
            _stage_query(session, write.contract, write.rows, position)
            check_staged(session.query, write, f"staging.{staged_name(position)}")
    session.create_empty(_OUTCOMES, _OUTCOME_COLUMNS)
    checks = {
        position: FenceCheck(write.contract, part, fence)
        for position, write in enumerate(writes)
        if (part := fenced_slice(write))
    }
    job = _run(session, writes, checks)
    told = [(row["position"], row["measures"], row["figure"], row["skipped"]) for row in job.result()]
    results = []
    for position, write in enumerate(writes):
        counts: dict[Figure, int] = {m: f for p, m, f, _ in told if p == position and m != "skipped"}
        skipped = [group for p, m, _, group in told if p == position and m == "skipped"]
        results.append(result(write, counts, skipped))
    return results


def _stage_frame(session: "BigQuerySession", write: Write, rows: pd.DataFrame, position: int) -> None:
    """Cast and check a frame here, with the code that does it for DuckDB, then load it."""
    name, contract = staged_name(position), write.contract
    stage_rows(session.local, contract, rows, name)
    check_staged(session.local.query, write, f"staging.{name}")
    everything = compose(
        "SELECT {names} FROM {staged}", names=columns(contract.column_names), staged=table(f"staging.{name}")
    )
    schema = [field(spec, nullable=True) for spec in contract.columns]
    session.load_staged(name, session.local.query_arrow(Statement(everything)), schema)


def _stage_query(session: "BigQuerySession", contract: TableContract, rows: Statement, position: int) -> None:
    """Stage a query's rows, cast to the contract's types."""
    query = session.prepare(rows)
    found = session.jobs.dry_run(query)
    check_columns(contract, [one.name for one in found])
    by_name = {one.name: one for one in found}
    casts = []
    for spec in contract.columns:
        cast = cast_exactly(spec, by_name[spec.name])
        if cast is None:
            raise ContractError(
                f"{contract.table}: column {spec.name} is {by_name[spec.name].field_type}, expected {spec.type}; "
                "nothing was written"
            )
        casts.append(cast)
    sql = compose("SELECT {casts} FROM ({query})", casts=join(", ", casts), query=Fragment(query.sql))
    session.create_staged("staging", staged_name(position), Statement(sql, query.parameters, rows.name))


def _run(session: "BigQuerySession", writes: Sequence[Write], checks: dict[int, FenceCheck]) -> bigquery.QueryJob:
    """Run the transaction; where it refused itself, say why."""
    try:
        return session.jobs.run_attempts(lambda attempt: _script(session, writes, checks, attempt))
    except JobFailedError as error:
        if _NO_LOCK in error.told:
            _make_lock(session)
            return _run(session, writes, checks)
        if stale := _STALE.search(error.told):
            check = checks[int(stale[1])]
            check.refuse(session.query(check.newer))
        tables = ", ".join(dict.fromkeys(write.contract.table for write in writes))
        raise WarehouseError(f"{tables}: nothing was written: {error}") from error


def _make_lock(session: "BigQuerySession") -> None:
    """Make the row that every transaction changes; two runs that do it at once make two, which does no harm."""
    contract = WRITE_FENCES
    sql = compose(
        "INSERT INTO {name} ({names}) SELECT @lock_name, '', '', '', TIMESTAMP '1970-01-01 00:00:00+00', ''",
        name=table(contract.table),
        names=columns(contract.column_names),
    )
    session.jobs.run(session.prepare(Statement(sql, {"lock_name": _LOCK})))


def _script(
    session: "BigQuerySession", writes: Sequence[Write], checks: dict[int, FenceCheck], attempt: int
) -> Statement:
    """The transaction as one script."""
    parameters: dict[str, Value] = {"attempt": attempt}
    parts = [compose("BEGIN TRANSACTION")]

    def text(statement: Statement) -> Fragment:
        prepared = session.prepare(statement)
        parameters.update(prepared.parameters)
        return Fragment(prepared.sql)

    fences, lock = table(WRITE_FENCES.table), {"lock_name": _LOCK}
    is_locked = compose("table_name = @lock_name")
    change = compose("UPDATE {fences} SET run_id = @locked_by WHERE {is_locked}", fences=fences, is_locked=is_locked)
    parts.append(text(Statement(change, {**lock, "locked_by": session.jobs.session})))
    there = compose("SELECT 1 AS one FROM {fences} WHERE {is_locked}", fences=fences, is_locked=is_locked)
    parts.append(
        compose(
            "IF NOT EXISTS ({there}) THEN RAISE USING MESSAGE = @no_lock; END IF", there=text(Statement(there, lock))
        )
    )
    parameters["no_lock"] = _NO_LOCK
    for position, check in checks.items():
        suffix = f"_{position}"
        stale = f"stale{suffix}"
        parameters[stale] = f"mmt: stale write {position}"
        parts.append(
            compose(
                "IF EXISTS ({newer}) THEN RAISE USING MESSAGE = {stale}; END IF",
                newer=text(renamed(check.newer, suffix)),
                stale=parameter(stale),
            )
        )
        parts += [text(renamed(statement, suffix)) for statement in check.remember]
    for position, write in enumerate(writes):
        parts += _steps(plan(write, position), position, text, attempt)
    parts.append(compose("COMMIT TRANSACTION"))
    told = compose(
        "SELECT position, measures, figure, skipped FROM {outcomes} WHERE attempt = @attempt",
        outcomes=table(f"staging.{_OUTCOMES}"),
    )
    parts.append(text(Statement(told, {"attempt": attempt})))
    return Statement(join(";\n", parts), parameters)


def _steps(steps: Sequence[Step], position: int, text: Callable[[Statement], Fragment], attempt: int) -> list[Fragment]:
    """A plan's steps; measures that follow each other are one statement."""
    suffix, parts = f"_{position}", list[Fragment]()
    measures: list[Statement] = []
    for step in steps:
        statement = renamed(step.statement, suffix)
        if step.measures:
            measures.append(_outcome(statement, step.measures, suffix))
            continue
        if measures:
            parts.append(text(_insert_outcomes(measures, {"attempt": attempt, f"position{suffix}": position})))
            measures = []
        parts.append(text(statement))
    return parts


def _outcome(measure: Statement, figure: Figure, suffix: str) -> Statement:
    """Rows of the outcomes table: one with a count, or one for each group that is skipped."""
    sql = compose(
        "SELECT @attempt, {position}, {figure}, {counted}, {skipped} FROM ({measure})",
        position=parameter(f"position{suffix}"),
        # One of the four names of a measure.
        figure=Fragment(f"'{figure}'"),
        counted=compose("CAST(NULL AS INT64)") if figure == "skipped" else compose("figure"),
        skipped=compose("CAST(figure AS STRING)") if figure == "skipped" else compose("CAST(NULL AS STRING)"),
        measure=Fragment(measure.sql),
    )
    return Statement(sql, measure.parameters)


def _insert_outcomes(rows: Sequence[Statement], shared: dict[str, Value]) -> Statement:
    sql = compose(
        "INSERT INTO {outcomes} (attempt, position, measures, figure, skipped) {rows}",
        outcomes=table(f"staging.{_OUTCOMES}"),
        rows=join(" UNION ALL ", (Fragment(row.sql) for row in rows)),
    )
    values = {name: value for row in rows for name, value in row.parameters.items()}
    return Statement(sql, values | shared)
