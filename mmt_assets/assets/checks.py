"""Asset checks: shells around conditions that the contracts state."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from mmt_assets.assets.catalog import asset_key
from mmt_assets.contracts import TableContract
from mmt_assets.warehouse import Session, Slice
from mmt_assets.warehouse.checks import duplicate_keys, stored_violations

if TYPE_CHECKING:
    from dagster._core.definitions.metadata import RawMetadataValue

UNIQUE_KEY = "key_is_unique"
NO_NULLS = "no_nulls"


def contract_check_specs(contract: TableContract) -> list[dg.AssetCheckSpec]:
    """The checks that every write of this table is followed by."""
    asset = asset_key(contract)
    return [
        dg.AssetCheckSpec(UNIQUE_KEY, asset=asset, description=f"{', '.join(contract.key)} identifies a row"),
        dg.AssetCheckSpec(NO_NULLS, asset=asset, description="Columns that may not be null are not"),
        *(dg.AssetCheckSpec(rule.name, asset=asset, description=rule.description) for rule in contract.rules),
    ]


def run_contract_checks(session: Session, contract: TableContract, part: Slice) -> Iterator[dg.AssetCheckResult]:
    """Check the stored rows of a slice; a key that spans days is checked over the whole table."""
    asset = asset_key(contract)
    repeated = session.query(duplicate_keys(contract, contract.table, part))
    yield dg.AssetCheckResult(
        check_name=UNIQUE_KEY,
        asset_key=asset,
        passed=repeated.empty,
        metadata={"examples": repeated.astype(str).to_dict("records")},
    )
    # An engine may count the rows of an empty slice as null.
    violations = session.query(stored_violations(contract, part)).fillna(0)
    for name, count in violations.iloc[0].astype(int).to_dict().items():
        yield dg.AssetCheckResult(
            check_name=str(name), asset_key=asset, passed=count == 0, metadata={"bad_rows": count}
        )


def rejected_rows_spec(contract: TableContract, max_share: float) -> dg.AssetCheckSpec:
    """Check that few source rows were rejected."""
    return dg.AssetCheckSpec(
        "rejected_rows",
        asset=asset_key(contract),
        description=f"Warns at any rejected source row, fails above {max_share:.1%} (MMT_MAX_REJECTED_SHARE)",
    )


@dataclass(frozen=True)
class Rejections:
    """Rejected rows of one load.

    Attributes:
        reasons: Rows by reason.
        undated: Rows among them whose day cannot be read; every load sees all of them again.
        source_rows: Rows of the source up to the last day of the load.
    """

    reasons: dict[str, int]
    undated: int
    source_rows: int

    @property
    def total(self) -> int:
        """All rejected rows."""
        return sum(self.reasons.values())

    def share(self, accepted: int) -> float:
        """The larger of two shares: of the days' rows, and, for rows without a day, of the whole source."""
        dated = self.total - self.undated
        return max(dated / max(dated + accepted, 1), self.undated / max(self.source_rows, 1))


def rejected_rows_result(
    contract: TableContract, rejections: Rejections, *, accepted: int, max_share: float
) -> dg.AssetCheckResult:
    """Judge the share of rejected rows: none is fine, some warn, more than `max_share` is an error."""
    share = rejections.share(accepted)
    told = "".join(f"; {reason}: {count}" for reason, count in rejections.reasons.items())
    return dg.AssetCheckResult(
        check_name="rejected_rows",
        asset_key=asset_key(contract),
        passed=rejections.total == 0,
        description=f"{rejections.total:,} source rows rejected, {accepted:,} taken (share {share:.2%}){told}",
        severity=dg.AssetCheckSeverity.ERROR if share > max_share else dg.AssetCheckSeverity.WARN,
        metadata={
            "rejected_rows": rejections.total,
            "rejected_without_a_day": rejections.undated,
            "accepted_rows": accepted,
            "rejected_share": share,
            "allowed_share": max_share,
            "reasons": rejections.reasons,
            "where_to_look": "SELECT * FROM raw.rejected_rows",
        },
    )


def late_rows_spec(contract: TableContract) -> dg.AssetCheckSpec:
    """Check that no source row of an earlier day is missing from the raw table."""
    return dg.AssetCheckSpec(
        "late_rows",
        asset=asset_key(contract),
        description="Source rows of days before the ones read again that the raw table does not hold",
    )


def late_rows_result(contract: TableContract, *, picked_up: int, missed: int, missed_days: str) -> dg.AssetCheckResult:
    """Late rows within the reload window were picked up; older ones need a backfill of their days."""
    metadata: dict[str, RawMetadataValue] = {"picked_up": picked_up, "missed": missed}
    if missed:
        metadata["what_to_do"] = f"Materialise {missed_days} again"
    return dg.AssetCheckResult(
        check_name="late_rows",
        asset_key=asset_key(contract),
        passed=missed == 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )
