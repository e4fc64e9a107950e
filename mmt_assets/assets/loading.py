"""How source rows reach the raw tables: staged, judged, written with the rejected ones in one transaction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Self

import dagster as dg
import pandas as pd

from mmt_assets.assets.catalog import asset_key
from mmt_assets.assets.checks import Rejections, late_rows_result, rejected_rows_result, run_contract_checks
from mmt_assets.assets.days import DayRange, materialized_days, run_fence
from mmt_assets.assets.source_values import currency_codes, hmac_pads, timezone_names
from mmt_assets.contracts import (
    CONCERTS,
    MAKES,
    REJECTED_ROWS,
    TICKET_ORDERS,
    TICKET_REFUNDS,
    UNDATED_REFUNDS,
    WRITE_FENCES,
    TableContract,
)
from mmt_assets.contracts.raw import CONCERT_STATUSES, ORDER_STATUSES
from mmt_assets.partitions import day_ranges, days_between
from mmt_assets.settings import Settings
from mmt_assets.warehouse import (
    AttachedTable,
    InsertMissing,
    ReplaceSlice,
    Session,
    Slice,
    SourceTable,
    Statement,
    Write,
    WriteResult,
)


def stage_concerts(session: Session) -> None:
    """Stage all source concerts, judged, as `staging.concerts`."""
    statement = Statement.from_file(
        "raw/parsed_concerts.sql", concert_statuses=CONCERT_STATUSES, timezones=timezone_names()
    )
    session.stage("concerts", statement)
    session.ensure(CONCERTS)


def good_concerts(session: Session) -> int:
    """How many staged concerts can be used."""
    return int(session.scalar(Statement("SELECT COUNTIF(problem IS NULL) AS good FROM staging.concerts")))


_NEW_CONCERTS = """SELECT COUNT(*) AS new_concerts FROM staging.concerts AS parsed
WHERE parsed.problem IS NULL AND parsed.concert_id NOT IN (SELECT concert_id FROM raw.concerts)"""
_NO_ORDERS = "SELECT concert_id, on_sale_at AS first_order_at FROM raw.concerts LIMIT 0"


def new_concert_writes(session: Session, settings: Settings, loaded_day: date) -> list[Write]:
    """New versions, and the concerts that cannot be used."""
    stored = session.scalar(Statement("SELECT COUNT(*) AS versions FROM raw.concerts"))
    # Orders are the largest table: they are read only where a concert that is new holds from its first one on.
    is_asked = stored > 0 and session.scalar(Statement(_NEW_CONCERTS)) > 0
    session.stage("first_orders", Statement.from_file("raw/first_orders.sql") if is_asked else Statement(_NO_ORDERS))
    versions = Statement.from_file(
        "raw/new_concert_versions.sql",
        timezone=settings.timezone,
        loaded_day=loaded_day,
        is_first_load=stored == 0,
    )
    rejected = Statement.from_file("raw/rejected_concerts.sql")
    return [
        InsertMissing(CONCERTS, versions),
        ReplaceSlice(REJECTED_ROWS, Slice(group=("source_table", "concerts")), rejected),
    ]


def stage_orders(session: Session, settings: Settings, *, last_day: date) -> None:
    """Stage all source orders up to `last_day`, judged, as `staging.orders`."""
    for contract in (CONCERTS, TICKET_ORDERS, TICKET_REFUNDS, UNDATED_REFUNDS):
        session.ensure(contract)
    statement = Statement.from_file(
        "raw/parsed_orders.sql",
        timezone=settings.timezone,
        last_day=last_day,
        currencies=currency_codes(),
        order_statuses=ORDER_STATUSES,
    )
    session.stage("orders", statement)


def stage_makes(session: Session, settings: Settings, *, last_day: date) -> None:
    """Stage all source makes up to `last_day`, judged, as `staging.makes`."""
    session.ensure(MAKES)
    inner_pad, outer_pad = hmac_pads(settings.hash_key())
    statement = Statement.from_file(
        "raw/parsed_makes.sql",
        timezone=settings.timezone,
        last_day=last_day,
        inner_pad=inner_pad,
        outer_pad=outer_pad,
    )
    session.stage("makes", statement)


def is_first_load(session: Session, contract: TableContract) -> bool:
    """Whether the table was never written before."""
    session.ensure(WRITE_FENCES)
    written = Statement(
        "SELECT COUNT(*) AS writes FROM operations.write_fences WHERE table_name = @table", {"table": contract.table}
    )
    return session.scalar(written) == 0


def stage_undated_refunds(session: Session, seen_date: date, *, first_load: bool) -> Write:
    """Stage when each refund without a time was first seen; returns the write that records the new ones.

    Args:
        session: Session with the staged orders.
        seen_date: Last complete day: what is seen now was not known on any day before.
        first_load: Whether no refund was ever loaded.
    """
    newly_seen = Statement.from_file(
        "raw/newly_seen_undated_refunds.sql", seen_date=seen_date, is_first_load=first_load
    )
    session.stage("newly_seen", newly_seen)
    session.stage("undated_refunds", Statement.from_file("raw/undated_refunds.sql"))
    return InsertMissing(UNDATED_REFUNDS, Statement("SELECT * FROM staging.newly_seen"))


_STAGED_ROWS = {
    CONCERTS.table: "SELECT COUNT(*) AS all_rows FROM staging.concerts",
    TICKET_ORDERS.table: "SELECT COUNT(*) AS all_rows FROM staging.orders",
    TICKET_REFUNDS.table: "SELECT COUNT(*) AS all_rows FROM staging.orders",
    MAKES.table: "SELECT COUNT(*) AS all_rows FROM staging.makes",
}


@dataclass(frozen=True)
class RawLoad:
    """A finished load of one raw table.

    Attributes:
        context: Of the asset.
        settings: Settings.
        contract: Table.
        results: What the writes did; the first is the table itself, the second its rejected rows.
        attached: What was found in the source.
        part: Slice that was replaced.
        late: Late rows: `day`, `late_rows` and `is_missed` (outside the slice), of other days than those asked for
            that had been loaded before.
        before_first_day: Source rows of days before the first partition, which no run loads.
        accepted: Good source rows, where they are not the rows of the slice.
    """

    context: dg.AssetExecutionContext
    settings: Settings
    contract: TableContract
    results: Sequence[WriteResult]
    attached: AttachedTable
    part: Slice = field(default_factory=Slice)
    late: pd.DataFrame | None = None
    before_first_day: int = 0
    accepted: int | None = None

    @classmethod
    def of_days(
        cls,
        context: dg.AssetExecutionContext,
        settings: Settings,
        session: Session,
        days: DayRange,
        contract: TableContract,
        source_table: SourceTable,
        rows: str,
        *,
        also: Sequence[Write] = (),
    ) -> Self:
        """Write the days of a table and its rejected rows from what was staged.

        Args:
            context: Of the asset.
            settings: Settings.
            session: Open session with the staged rows.
            days: Days asked for.
            contract: Table.
            source_table: Source that the rows come from.
            rows: What the SQL files call the rows: `rejected_<rows>.sql`, `late_<rows>.sql`.
            also: Writes of the same transaction.
        """
        slice_days = {"first_day": days.reload_from, "last_day": days.last}
        asked = {"first_day": days.first, "last_day": days.last}
        late = session.query(Statement.from_file(f"raw/late_{rows}.sql", **asked))
        late["day"] = pd.to_datetime(late["day"]).dt.date
        before_first_day = int(late.loc[late["day"] < settings.partitions_start(), "late_rows"].sum())
        late["is_missed"] = ~late["day"].isin(days_between(days.reload_from, days.last))
        late = late[late["day"].isin(materialized_days(context.instance, asset_key(contract)))]
        group = ("source_table", contract.name)
        bad = Slice(first=days.reload_from, last=days.last, undated=True, group=group)
        good_rows = Statement.from_file(f"raw/{contract.name}.sql", **slice_days)
        bad_rows = Statement.from_file(f"raw/rejected_{rows}.sql", **slice_days)
        writes = [
            ReplaceSlice(contract, days.slice, good_rows, days.fenced),
            ReplaceSlice(REJECTED_ROWS, bad, bad_rows, Slice(days.first, days.last, group=group)),
            *also,
        ]
        results = session.write(writes, fence=run_fence(context))
        attached = session.attach(source_table)
        return cls(context, settings, contract, results, attached, days.slice, late, before_first_day)

    def rejections(self, session: Session) -> Rejections:
        """Rejected rows of the slice, and those without a day."""
        part = Slice(self.part.first, self.part.last, undated=True, group=("source_table", self.contract.name))
        inside = part.condition(REJECTED_ROWS)
        counts = session.query(
            Statement(
                "SELECT reason, COUNT(*) AS all_rows, COUNTIF(partition_date IS NULL) AS undated_rows "  # noqa: S608
                f"FROM raw.rejected_rows WHERE {inside.sql} GROUP BY reason ORDER BY reason",
                inside.parameters,
            )
        )
        return Rejections(
            reasons=dict(zip(counts["reason"], counts["all_rows"].astype(int), strict=True)),
            undated=int(counts["undated_rows"].sum()),
            source_rows=session.scalar(Statement(_STAGED_ROWS[self.contract.table])),
        )


def load_results(session: Session, load: RawLoad) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Metadata and checks of a load."""
    table = load.results[0]
    rejections = load.rejections(session)
    if load.attached.ignored_columns:
        load.context.log.info(f"{load.contract.name}: ignored columns {', '.join(load.attached.ignored_columns)}")
    if load.before_first_day:
        load.context.log.warning(
            f"{load.contract.name}: {load.before_first_day} source rows lie before the first day "
            f"{load.settings.partitions_start()} and are not loaded (MMT_FIRST_DAY)"
        )
    accepted = table.rows if load.accepted is None else load.accepted
    # Told only where there are any: every partition of a backfill carries the figures.
    unusual = {"rejected_reasons": rejections.reasons, "ignored_columns": list(load.attached.ignored_columns)}
    load.context.log_event(
        dg.AssetMaterialization(
            asset_key(REJECTED_ROWS),
            description=f"Written with {load.contract.table}",
            metadata={"source_table": load.contract.name, "rejected_rows": rejections.total},
        )
    )
    yield dg.MaterializeResult(
        asset_key=asset_key(load.contract),
        metadata={
            "dagster/row_count": accepted,
            "rows_added": table.added,
            "rows_removed": table.removed,
            "rejected_rows": rejections.total,
            "rows_before_first_day": load.before_first_day,
            "source_files": len(load.attached.files),
            **{name: value for name, value in unusual.items() if value},
        },
    )
    yield rejected_rows_result(load.contract, rejections, accepted=accepted, max_share=load.settings.max_rejected_share)
    if load.late is not None:
        missed = load.late[load.late["is_missed"]]
        picked_up = int(load.late["late_rows"].sum() - missed["late_rows"].sum())
        yield late_rows_result(
            load.contract,
            picked_up=picked_up,
            missed=int(missed["late_rows"].sum()),
            missed_days=day_ranges(missed["day"]),
        )
    yield from run_contract_checks(session, load.contract, load.part)


def undated_refunds_result(session: Session, days: DayRange) -> dg.AssetCheckResult:
    """How many refunds of the slice have no time of their own."""
    undated = session.scalar(
        Statement(
            "SELECT COUNT(*) AS undated FROM raw.ticket_refunds "
            "WHERE refunded_at IS NULL AND refund_date BETWEEN @first_day AND @last_day",
            {"first_day": days.reload_from, "last_day": days.last},
        )
    )
    return dg.AssetCheckResult(
        check_name="refunds_are_dated",
        asset_key=asset_key(TICKET_REFUNDS),
        passed=undated == 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"undated_refunds": undated},
    )
