"""The warehouse as a Dagster resource."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from mmt_assets.warehouse import Session, Usage, WarehouseError
from mmt_assets.worker.job import BigQueryAddress, DuckDBAddress, WarehouseAddress

BYTES_BILLED_TAG = "mmt/bytes_billed"
SLOT_SECONDS_TAG = "mmt/slot_seconds"


class WarehouseResource(dg.ConfigurableResource, ABC):
    """Where tables live. Opening is late and short.

    Attributes:
        busy_timeout: Seconds to wait for others: for the lock of a file, or for a write that met another run's.
    """

    busy_timeout: float = 120.0

    @abstractmethod
    def address(self) -> WarehouseAddress:
        """What anybody needs to open the same warehouse.

        Raises:
            WarehouseError: A setting is missing.
        """

    @abstractmethod
    def exists(self) -> bool:
        """Whether anything may have been written."""

    @abstractmethod
    def waiting_at_most(self, seconds: float) -> "WarehouseResource":
        """The same warehouse for a reader that would rather come back than wait."""

    @contextmanager
    def open(
        self,
        context: dg.AssetExecutionContext | None = None,
        *,
        source: str | None = None,
        read_only: bool = False,
    ) -> Iterator[Session]:
        """Open a session, see `mmt_assets.warehouse.Warehouse.open`.

        Args:
            context: Of the asset that opens it: statements are labelled with it, and their cost is added to its run.
            source: Location of the source, for `source.<table>`.
            read_only: Whether nothing will be written.
        """
        labels = {"run": context.run.run_id, "asset": context.op_execution_context.op.name} if context else {}
        with self.address().connect().open(source=source, read_only=read_only, labels=labels) as session:
            try:
                yield session
            finally:
                if context:
                    record_usage(context, session.usage)


class DuckDBFile(WarehouseResource):
    """A DuckDB file: one process at a time may have it.

    Attributes:
        path: The file.
    """

    path: str

    def address(self) -> DuckDBAddress:
        """Where the file is."""
        return DuckDBAddress(path=self.path, busy_timeout=self.busy_timeout)

    def waiting_at_most(self, seconds: float) -> "WarehouseResource":
        """The same warehouse for a reader that would rather come back than wait."""
        return DuckDBFile(path=self.path, busy_timeout=seconds)

    def exists(self) -> bool:
        """Whether the file is there."""
        return Path(self.path).exists()


class BigQueryDatasets(WarehouseResource):
    """Datasets of a Google Cloud project.

    Attributes:
        project: Project; needed once anything is opened.
        prefix: What the names of the datasets begin with.
        max_scan_gib: Most GiB that one statement may read.
        endpoint: Address of an emulator instead of BigQuery.
        storage_endpoint: `host:port` of the emulator's Storage API.
    """

    project: str | None = None
    prefix: str = ""
    max_scan_gib: float = 100.0
    endpoint: str | None = None
    storage_endpoint: str | None = None

    def address(self) -> BigQueryAddress:
        """Where the datasets are."""
        if self.project is None:
            raise WarehouseError("MMT_PROJECT is unset: with MMT_ENV=gcp it names the Google Cloud project")
        return BigQueryAddress(
            project=self.project,
            prefix=self.prefix,
            max_scan_gib=self.max_scan_gib,
            busy_timeout=self.busy_timeout,
            endpoint=self.endpoint,
            storage_endpoint=self.storage_endpoint,
        )

    def waiting_at_most(self, seconds: float) -> "WarehouseResource":
        """The same datasets; reading them waits for nobody."""
        return BigQueryDatasets(**{**self.address().model_dump(exclude={"engine"}), "busy_timeout": seconds})

    def exists(self) -> bool:
        """Asking would cost a request: whether there are rows, Dagster's events tell."""
        return True


def record_usage(context: dg.AssetExecutionContext, usage: Usage) -> None:
    """Log what a session cost, and add it to the sums in the run's tags; nothing where nothing is counted."""
    if not usage.statements:
        return
    run = context.instance.get_run_by_id(context.run.run_id)
    tags = run.tags if run else {}
    billed = int(tags.get(BYTES_BILLED_TAG, 0)) + usage.bytes_billed
    seconds = float(tags.get(SLOT_SECONDS_TAG, 0)) + usage.slot_seconds
    context.instance.add_run_tags(
        context.run.run_id, {BYTES_BILLED_TAG: str(billed), SLOT_SECONDS_TAG: f"{seconds:.3f}"}
    )
    context.log_event(
        dg.AssetObservation(
            min(context.selected_asset_keys),
            description="What the statements in BigQuery cost",
            metadata={
                "statements": usage.statements,
                "bytes_estimated": usage.bytes_estimated,
                "bytes_billed": usage.bytes_billed,
                "slot_seconds": round(usage.slot_seconds, 3),
            },
        )
    )
