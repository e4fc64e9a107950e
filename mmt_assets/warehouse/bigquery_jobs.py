"""BigQuery jobs: each with an id of our own, labels, a dry run before it and a limit on what it reads."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from io import BytesIO
from itertools import count
from typing import Any, TypeVar, cast
from uuid import uuid4

import pyarrow as pa
from google.api_core.exceptions import Conflict, GoogleAPICallError, NotFound, RetryError
from google.cloud import bigquery
from pyarrow import parquet
from requests.exceptions import RequestException
from tenacity import RetryError as StillFailingError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from mmt_assets.warehouse.protocol import Statement, Usage, Value, WarehouseBusyError, WarehouseError

GIB = 1024**3
# Longer than any statement of ours; a job that is lost must not be waited for for ever.
_LONGEST_JOB_SECONDS = 3600.0
# Reasons after which the same statement may succeed, from BigQuery's table of error messages.
_PASSING_REASONS = {"backendError", "internalError", "jobBackendError", "jobInternalError", "rateLimitExceeded"}
# What a transaction is told that met another one on the same table.
_CONCURRENT = re.compile(r"concurrent update|Transaction is aborted|Could not serialize access", re.IGNORECASE)
_NOT_A_LABEL = re.compile(r"[^a-z0-9_-]")
_MOST_LABEL_CHARACTERS = 63
_TYPES: tuple[tuple[type, str], ...] = (
    # A bool is an int and a datetime is a date: the narrower type comes first.
    (bool, "BOOL"),
    (int, "INT64"),
    (float, "FLOAT64"),
    (str, "STRING"),
    (bytes, "BYTES"),
    (datetime, "TIMESTAMP"),
    (date, "DATE"),
)
Job = TypeVar("Job", bigquery.QueryJob, bigquery.LoadJob)
Parameter = bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter


class JobFailedError(WarehouseError):
    """BigQuery refused or failed a job.

    Attributes:
        told: BigQuery's own message.
        passes: Whether the same statement may succeed later.
    """

    def __init__(self, error: Exception, sql: str) -> None:
        self.told = str(getattr(error, "message", error))
        reasons = {str(one.get("reason")) for one in getattr(error, "errors", None) or [] if isinstance(one, dict)}
        self.passes = bool(reasons & _PASSING_REASONS or _CONCURRENT.search(self.told))
        advice = "\nIt does not exist yet: materialise something first." if isinstance(error, NotFound) else ""
        super().__init__(f"{self.told}{advice}\n{sql}")


def label(text: str) -> str:
    """Text as the value of a label: small letters, digits, `_` and `-`, at most 63 of them."""
    return _NOT_A_LABEL.sub("-", text.lower())[:_MOST_LABEL_CHARACTERS]


def query_parameters(values: Mapping[str, Value]) -> list[Parameter]:
    """Named parameters with their GoogleSQL types."""
    return [_parameter(name, value) for name, value in values.items()]


def _parameter(name: str, value: Value) -> Parameter:
    if value is None:
        return bigquery.ScalarQueryParameter(name, "STRING", None)
    for kind, type_name in _TYPES:
        if isinstance(value, kind):
            return bigquery.ScalarQueryParameter(name, type_name, cast("Any", value))
    return bigquery.ArrayQueryParameter(name, "STRING", list(cast("Sequence[str]", value)))


@dataclass
class Jobs:
    """Runs jobs for one session.

    A job's id is the session, the number of the statement in it and the attempt. A request that is sent again because
    its answer was lost therefore finds the job that it made, and a statement never runs twice; a job that failed is
    tried again under the next attempt's id.

    Attributes:
        client: Client.
        location: Where the datasets are: a job is found again only with it.
        labels: Whose cost each job is.
        max_scan_bytes: Most bytes that one statement may read.
        patience: Seconds for which a job that met another run's, or a passing failure, is tried again.
        session: Part of every job's id and of every staging table's name.
        usage: What the jobs have cost.
    """

    client: bigquery.Client
    location: str | None
    labels: Mapping[str, str]
    max_scan_bytes: int
    patience: float
    session: str = field(default_factory=lambda: f"s{uuid4().hex[:16]}")
    usage: Usage = field(default_factory=Usage)
    _number: int = 0

    def dry_run(self, statement: Statement) -> Sequence[bigquery.SchemaField]:
        """Check a statement without running it; returns the columns of its result.

        Raises:
            WarehouseError: It is wrong, or would read more than `max_scan_bytes`.
        """
        config = self._config(statement.parameters, dry_run=True, use_query_cache=False)
        try:
            job = self.client.query(statement.sql, job_config=config, location=self.location)
        except (GoogleAPICallError, RetryError, RequestException) as error:
            raise JobFailedError(error, statement.sql) from error
        scanned = int(job.total_bytes_processed or 0)
        if scanned > self.max_scan_bytes:
            what = statement.name or "the statement"
            raise WarehouseError(
                f"{what} would read {scanned / GIB:,.3g} GiB ({scanned:,} bytes), more than the "
                f"{self.max_scan_bytes / GIB:,.3g} GiB ({self.max_scan_bytes:,} bytes) of MMT_MAX_SCAN_GIB; "
                f"it was not run. Narrow it or raise the limit.\n{statement.sql}"
            )
        self.usage.bytes_estimated += scanned
        return job.schema or []

    def run(self, statement: Statement, *, is_checked: bool = False) -> bigquery.QueryJob:
        """Run a statement to its end, after a dry run unless the caller made it.

        Raises:
            WarehouseError: BigQuery refuses it, or it would read too much.
            WarehouseBusyError: Other runs were in its way for all of `patience`.
        """
        if not is_checked:
            self.dry_run(statement)

        def begin(job_id: str) -> bigquery.QueryJob:
            config = self._config(statement.parameters, maximum_bytes_billed=self.max_scan_bytes)
            return self.client.query(
                statement.sql, job_config=config, job_id=job_id, location=self.location, job_retry=None
            )

        return self._finish(begin, statement.sql)

    def run_attempts(self, script: Callable[[int], Statement]) -> bigquery.QueryJob:
        """Run a script that is told its attempt; what it reads is bounded by `max_scan_bytes` while it runs."""
        text = script(1).sql

        def begin(job_id: str) -> bigquery.QueryJob:
            statement = script(int(job_id.rpartition("_")[2]))
            config = self._config(statement.parameters, maximum_bytes_billed=self.max_scan_bytes)
            return self.client.query(
                statement.sql, job_config=config, job_id=job_id, location=self.location, job_retry=None
            )

        return self._finish(begin, text)

    def load(self, rows: pa.Table, table: str, schema: Sequence[bigquery.SchemaField]) -> None:
        """Load rows into a new table."""
        buffer = BytesIO()
        parquet.write_table(rows, buffer)

        def begin(job_id: str) -> bigquery.LoadJob:
            buffer.seek(0)
            config = bigquery.LoadJobConfig(
                source_format=bigquery.SourceFormat.PARQUET,
                schema=schema,
                write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
                labels=dict(self.labels),
            )
            return self.client.load_table_from_file(
                buffer, table, job_config=config, job_id=job_id, location=self.location
            )

        self._finish(begin, f"load of {rows.num_rows} rows into {table}")

    def _config(self, values: Mapping[str, Value], **options: Any) -> bigquery.QueryJobConfig:
        return bigquery.QueryJobConfig(
            query_parameters=query_parameters(values), labels=dict(self.labels), use_legacy_sql=False, **options
        )

    def _finish(self, begin: Callable[[str], Job], text: str) -> Job:
        """Begin a job and wait for it, again and again while its failure passes."""
        self._number += 1
        attempts = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, JobFailedError) and error.passes),
            # Jitter, so that runs that met do not meet again.
            wait=wait_random_exponential(multiplier=0.5, max=10),
            stop=stop_after_delay(self.patience),
        )
        numbers = count(1)
        try:
            return attempts(lambda: self._attempt(begin, next(numbers), text))
        except StillFailingError as error:
            cause = error.last_attempt.exception()
            raise WarehouseBusyError(
                f"BigQuery did not carry out a statement within {self.patience:g} s (MMT_BUSY_TIMEOUT_SECONDS): other "
                f"runs wrote the same table, or it had a passing failure. Run again.\n{cause}"
            ) from cause

    def _attempt(self, begin: Callable[[str], Job], attempt: int, text: str) -> Job:
        job_id = f"mmt_{self.session}_{self._number:05d}_{attempt}"
        try:
            try:
                job = begin(job_id)
            except Conflict:
                # The first request had made the job; only its answer was lost.
                job = cast("Job", self.client.get_job(job_id, location=self.location))
            job.result(timeout=_LONGEST_JOB_SECONDS)
        except (GoogleAPICallError, RetryError, RequestException, TimeoutError) as error:
            raise JobFailedError(error, text) from error
        self.usage.statements += 1
        if isinstance(job, bigquery.QueryJob):
            self.usage.bytes_billed += int(job.total_bytes_billed or 0)
            self.usage.slot_seconds += int(job.slot_millis or 0) / 1000
        return job
