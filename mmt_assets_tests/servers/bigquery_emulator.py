"""BigQuery's emulator as a server process, mended where the real client needs it.

Runs in the emulator's own environment (`.venv-emulators`), not in the project's: it caps sqlglot. Prints one line of
JSON with its ports when it accepts requests, and ends when its stdin closes, so that it never outlives a test.

What is mended, each by replacing one function of the emulator in this process:

1. The spatial extension is not loaded: it would be downloaded.
2. Uploads of the Python client (`*/*`) are accepted, and keep the job id that the client gave.
3. Results of a query can be read through the Storage API, from their anonymous table.
4. Query parameters are bound in scripts, as in single statements, and are not taken for the beginning of a
   dollar-quoted text; RAISE fails the job, not the server; bytes are
   bound as bytes, and SHA256 hashes them, not how they are printed.
5. A job id that exists is refused with 409, and a job keeps its labels; both as the service documents it.
6. Bytes are estimated (rows x columns x 8 of each table that is read), so that limits can be tested; 10 MiB are
   billed at least, as by the service.
7. POST /faults makes jobs to come fail as the service does, see `Faults`.
"""

# pyright: reportMissingImports=false

import asyncio
import base64
import contextvars
import json
import re
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import sqlglot
from bqemulator.api import app as api_app
from bqemulator.api.routes import jobs as job_routes
from bqemulator.api.routes import upload
from bqemulator.catalog.models import JobMeta
from bqemulator.config import LogLevel, Settings
from bqemulator.domain.errors import AlreadyExistsError, InvalidQueryError
from bqemulator.jobs import executor
from bqemulator.scripting import interpreter
from bqemulator.scripting.exceptions import ScriptRaise
from bqemulator.server import EmulatorServer
from bqemulator.sql import parameters
from bqemulator.storage.engine import DuckDBEngine
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from sqlglot import exp
from sqlglot.errors import SqlglotError

_BYTES_PER_VALUE = 8
_LEAST_BILLED = 10 * 1024 * 1024
_ANONYMOUS = re.compile(r'"[^"]*___bqemu_anonymous"\."anon(\w+)"')

_parameters: contextvars.ContextVar[list[dict[str, Any]] | None] = contextvars.ContextVar("parameters", default=None)


class Faults:
    """Failures to come: each is used once, by the first job whose statement holds `text`.

    Kinds: `conflict` fails the job as an aborted transaction, `unavailable` answers 503 before the job is made,
    `lost` runs the job and cuts the connection instead of answering.
    """

    def __init__(self) -> None:
        self.waiting: list[dict[str, str]] = []

    def take(self, kinds: tuple[str, ...], body: bytes) -> str | None:
        """The kind of the first fault that is meant for this request; it is used up."""
        for fault in self.waiting:
            if fault["kind"] in kinds and fault["text"].encode() in body:
                self.waiting.remove(fault)
                return fault["kind"]
        return None


faults = Faults()


def mend_engine() -> None:
    """1 and 3."""
    fetch = DuckDBEngine.fetch_arrow

    def fetch_arrow(self: DuckDBEngine, sql: str, parameters: list[Any] | None = None) -> Any:
        match = _ANONYMOUS.search(sql)
        results = {job.replace("-", ""): table for job, table in executor.JOB_RESULTS.items()} if match else {}
        if match is None or match[1] not in results:
            return fetch(self, sql, parameters)
        # A cursor of its own: this is called from the threads that serve the Storage API.
        cursor = self.connection.cursor()
        cursor.register("anonymous_result", results[match[1]])
        try:
            return cursor.execute(_ANONYMOUS.sub('"anonymous_result"', sql)).to_arrow_table()
        finally:
            cursor.close()

    DuckDBEngine._load_spatial = lambda _: None
    DuckDBEngine.fetch_arrow = fetch_arrow


def mend_uploads() -> None:
    """2."""
    permitted = upload._is_permitted_media_type
    from_envelope = upload._load_configuration_from_envelope
    run_load = upload._run_load

    def configuration_with_job(envelope: dict[str, Any]) -> dict[str, Any]:
        return {**from_envelope(envelope), "_job": envelope.get("jobReference", {}).get("jobId")}

    async def run_with_job(*, project_id: str, configuration: dict[str, Any], media_path: str, ctx: Any) -> Any:
        own = {key: value for key, value in configuration.items() if key != "_job"}
        if given := configuration.get("_job"):
            refuse_known_job(ctx, project_id, given)
            upload._new_job_id = lambda: given
        return await run_load(project_id=project_id, configuration=own, media_path=media_path, ctx=ctx)

    upload._is_permitted_media_type = lambda kind: kind in ("*/*", "") or permitted(kind)
    upload._load_configuration_from_envelope = configuration_with_job
    upload._run_load = run_with_job


def hash_bytes(sql: str) -> str:
    """Take away the emulator's cast of bytes to text before they are hashed, and encode text as UTF-8."""
    tree = sqlglot.parse_one(sql, read="duckdb")
    for node in list(tree.find_all(exp.Cast)):
        if node.is_type("TEXT") and isinstance(node.this, exp.DPipe) and isinstance(node.parent, exp.SHA2):
            node.replace(node.this)
        elif node.is_type("VARBINARY", "BINARY"):
            node.replace(exp.Encode(this=node.this.copy(), charset=exp.Literal.string("utf-8")))
    return tree.sql(dialect="duckdb")


def mend_scripts() -> None:
    """4."""
    parameters._SCALAR_CONVERTERS["BYTES"] = base64.b64decode
    bind, rewrite = interpreter.bind_parameters, interpreter.rewrite_table_refs

    def rewrite_table_refs(sql: str, project_id: str) -> str:
        hidden = re.sub(r"\$(\w+)", r"parameter__\1", sql)
        written = rewrite(hidden, project_id)
        return re.sub(r"\bparameter__(\w+)", r"$\1", hash_bytes(written) if "SHA256(" in written else written)

    run_body = executor._run_query_body

    async def run_query_body(**arguments: Any) -> Any:
        token = _parameters.set(arguments["query_params"])
        try:
            return await run_body(**arguments)
        except ScriptRaise as raised:
            # The emulator lets it out as an internal error, which a client retries.
            raise InvalidQueryError(raised.message) from raised
        finally:
            _parameters.reset(token)

    interpreter.bind_parameters = lambda sql, given=None: bind(sql, given or _parameters.get())
    interpreter.rewrite_table_refs = executor.rewrite_table_refs = rewrite_table_refs
    executor._run_query_body = run_query_body


def refuse_known_job(ctx: Any, project_id: str, job_id: str) -> None:
    """5."""
    if ctx.catalog.get_job(project_id, job_id) is not None:
        raise AlreadyExistsError(f"Already Exists: Job {project_id}:US.{job_id}")


def estimated_bytes(ctx: Any, project_id: str, sql: str) -> int:
    """6: bytes of the tables that a statement reads."""
    total = 0
    try:
        tables = [table for tree in sqlglot.parse(sql, read="bigquery") if tree for table in tree.find_all(exp.Table)]
    except SqlglotError:
        return 0
    for name in {(table.catalog or project_id, table.db, table.name) for table in tables if table.db}:
        known = ctx.catalog.get_table(*name)
        if known is None:
            continue
        schema = f"{name[0]}__{name[1]}"
        rows = ctx.engine.execute(f'SELECT COUNT(*) FROM "{schema}"."{name[2]}"').fetchone()
        total += (rows[0] if rows else 0) * len(known.schema_.fields) * _BYTES_PER_VALUE
    return total


def mend_jobs() -> None:
    """5, 6 and the conflict of 7."""
    handle = job_routes._handle_query_job
    execute = job_routes._execute_query_or_failed_meta

    async def handle_query_job(
        project_id: str, job_id: str, config: dict[str, Any], *, dry_run: bool, ctx: Any, **more: Any
    ) -> Any:
        if not dry_run:
            refuse_known_job(ctx, project_id, job_id)
        answer = await handle(project_id, job_id, config, dry_run=dry_run, ctx=ctx, **more)
        if isinstance(answer, dict):
            scanned = str(estimated_bytes(ctx, project_id, config["query"].get("query", "")))
            statistics = answer.setdefault("statistics", {})
            statistics["totalBytesProcessed"] = scanned
            statistics.setdefault("query", {})["totalBytesProcessed"] = scanned
        return answer

    async def execute_or_failed(**arguments: Any) -> JobMeta:
        config, ctx = arguments["config"], arguments["ctx"]
        scanned = estimated_bytes(ctx, arguments["project_id"], arguments["bq_sql"])
        limit = int(config["query"].get("maximumBytesBilled") or 0)
        billed = max(scanned, _LEAST_BILLED) if scanned else 0
        failure = None
        if faults.take(("conflict",), arguments["bq_sql"].encode()):
            failure = InvalidQueryError("Transaction is aborted due to concurrent update against table (injected)")
        elif limit and billed > limit:
            failure = InvalidQueryError(f"Query exceeded limit for bytes billed: {limit}. {billed} or higher required.")
        if failure is None:
            made = await execute(**arguments)
        else:
            made = job_routes._failed_job_meta(
                project_id=arguments["project_id"],
                job_id=arguments["job_id"],
                job_type="QUERY",
                config=config,
                error_result=job_routes._domain_error_to_error_result(failure),
                now=ctx.clock.now(),
            )
        statistics = made.statistics
        statistics["totalBytesProcessed"] = str(scanned)
        statistics["totalSlotMs"] = str(1 + scanned // 100_000)
        figures = {"totalBytesProcessed": str(scanned), "totalBytesBilled": str(billed)}
        statistics.setdefault("query", {}).update(figures, totalSlotMs=statistics["totalSlotMs"])
        labels = config.get("labels")
        return made.model_copy(update={"configuration": {**made.configuration, "labels": labels}}) if labels else made

    job_routes._handle_query_job = handle_query_job
    job_routes._execute_query_or_failed_meta = execute_or_failed


def add_faults(app: FastAPI) -> None:
    """7."""

    @app.post("/faults")
    async def inject(request: Request) -> dict[str, int]:
        faults.waiting.append(await request.json())
        return {"waiting": len(faults.waiting)}

    @app.middleware("http")
    async def fail_when_asked(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.method != "POST" or not request.url.path.endswith(("/jobs", "/queries")):
            return await answer(request)
        body = await request.body()
        kind = faults.take(("unavailable", "lost"), body)
        if kind == "unavailable":
            error = {"code": 503, "message": "injected", "errors": [{"reason": "backendError"}]}
            return JSONResponse({"error": error}, status_code=503)
        answered = await answer(request)
        if kind == "lost":
            raise ConnectionAbortedError("injected: the answer is lost")
        return answered


async def serve() -> None:
    """Serve until stdin closes."""
    create_app = api_app.create_app

    def create_with_faults(context: Any) -> FastAPI:
        app = create_app(context)
        add_faults(app)
        return app

    sys.modules["bqemulator.server"].create_app = create_with_faults  # type: ignore[attr-defined]
    server = EmulatorServer(
        Settings(rest_port=0, grpc_port=0, enable_format_extensions=False, log_level=LogLevel.CRITICAL)
    )
    await server.start()
    print(json.dumps({"rest": server.rest_port, "grpc": server.grpc_port}), flush=True)  # noqa: T201
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop()


if __name__ == "__main__":
    mend_engine()
    mend_uploads()
    mend_scripts()
    mend_jobs()
    asyncio.run(serve())
