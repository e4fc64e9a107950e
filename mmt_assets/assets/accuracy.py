"""The scoreboard: what was forecast against what happened."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import dagster as dg
import pandas as pd

from mmt_assets.assets.catalog import asset_key, catalog_entry, daily_freshness, table_asset
from mmt_assets.assets.checks import contract_check_specs, run_contract_checks
from mmt_assets.assets.days import last_day_with_history, run_fence
from mmt_assets.contracts import (
    ACCURACY,
    CONCERT_OUTLOOK,
    CONCERT_SALES,
    CONCERTS,
    PUBLISHED_OUTLOOK,
)
from mmt_assets.forecasting.accuracy import (
    Judgement,
    judge_coverage,
    judge_errors,
    newest,
    scoreboard,
    with_pickup,
)
from mmt_assets.provenance import lock_hash, source_commit
from mmt_assets.resources import WarehouseResource
from mmt_assets.settings import Settings
from mmt_assets.warehouse import ReplaceSlice, Session, Slice, Statement

BEATS_PICKUP = "beats_additive_pickup"
COVERAGE_HOLDS = "coverage_holds"
_EXPLANATION = (
    "Made anew each day from all published and backfilled outlooks of completed concerts. Rows with `is_headline` "
    "are the ones to read: live forecasts from 30 completed concerts on, backfilled ones until then."
)


def accuracy_asset(settings: Settings) -> dg.AssetsDefinition:
    """The accuracy table."""
    key = asset_key(ACCURACY)

    @table_asset(
        key=key,
        deps=[asset_key(contract) for contract in (CONCERTS, CONCERT_SALES, CONCERT_OUTLOOK, PUBLISHED_OUTLOOK)],
        check_specs=[
            *contract_check_specs(ACCURACY),
            dg.AssetCheckSpec(
                BEATS_PICKUP,
                asset=key,
                description="Over the last completed concerts (MMT_ACCURACY_CONCERTS) the published forecasts err no "
                "more than additive pick-up; an error where they do beyond chance, else a warning",
            ),
            dg.AssetCheckSpec(
                COVERAGE_HOLDS,
                asset=key,
                description="Over the same concerts the 80% intervals hold 80% (more where they end at the capacity), "
                "give or take 3 points and binomial error",
            ),
        ],
        freshness_policy=daily_freshness(settings),
        **catalog_entry(ACCURACY, kinds=("python", "duckdb", "sql"), explanation=_EXPLANATION),
    )
    def accuracy(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        until = last_day_with_history(context.instance, [asset_key(CONCERT_SALES)], settings)
        if until is None:
            raise dg.Failure("no day of features/concert_sales is complete: materialise the daily job first")
        fence = run_fence(context)
        with warehouse.open(context) as session:
            said = _forecasts_with_outcome(session, until, settings)
            rows = scoreboard(said).assign(
                scored_until_date=pd.Timestamp(until),
                computed_at=datetime.now(UTC),
                run_id=fence.run_id,
                run_created_at=fence.run_created_at,
                commit=source_commit(),
                lock_hash=lock_hash(),
            )
            session.write([ReplaceSlice(ACCURACY, Slice(), rows)], fence=fence)
            checks = list(run_contract_checks(session, ACCURACY, Slice()))
        yield dg.MaterializeResult(asset_key=key, metadata=_metadata(rows, until))
        yield from checks
        recent = newest(said, settings.accuracy_concerts)
        yield _check(BEATS_PICKUP, judge_errors(recent))
        yield _check(COVERAGE_HOLDS, judge_coverage(recent))

    return accuracy


def _forecasts_with_outcome(session: Session, until: date, settings: Settings) -> pd.DataFrame:
    """Forecasts of completed concerts with what happened, and what additive pick-up would have said."""
    for contract in (CONCERT_OUTLOOK, PUBLISHED_OUTLOOK):
        # One may never have been written, and an older version's lack new columns.
        session.ensure(contract)
    known = Statement.from_file("forecasts/concerts_as_of.sql", as_of=until, timezone=settings.timezone)
    session.stage("concerts", known)
    said = session.query(Statement.from_file("forecasts/forecasts_with_outcome.sql", published="live"))
    concerts = session.query(
        Statement("SELECT concert_id, show_date FROM staging.concerts WHERE status != 'cancelled'")
    )
    sales = session.query(Statement.from_file("forecasts/sales_history.sql", as_of=until))
    return with_pickup(said, concerts, sales)


def _metadata(rows: pd.DataFrame, until: date) -> dict[str, str | int | float]:
    """Figures that the UI draws over time: errors, bias and coverage of the headline rows."""
    told: dict[str, str | int | float] = {"dagster/row_count": len(rows), "scored_until_date": until.isoformat()}
    headline = rows[rows["is_headline"] & (rows["segment_by"] == "all")].sort_values("days_to_show")
    published = headline[headline["model"] == "published"]
    if published.empty:
        return told | {"verdict": "no completed concert has a forecast made at least a day before its show"}
    yardstick = headline[headline["model"] == "additive_pickup"].set_index("days_to_show")["wape"]
    lines = []
    for row in published.to_dict("records"):
        days = row["days_to_show"]
        figures = {"wape": row["wape"], "bias": row["bias"], "coverage": row["coverage_80"]}
        figures["pickup_wape"] = yardstick[days]
        told |= {f"{name}_{days}_days": float(value) for name, value in figures.items() if pd.notna(value)}
        told[f"concerts_{days}_days"] = int(row["concerts_count"])
        champion = f", champion {row['champion']}" if row["champion"] else ""
        if pd.notna(row["wape"]):
            lines.append(
                f"{days} days out ({row['origin']}, {row['concerts_count']} concerts): off by {row['wape']:.1%}, "
                f"pick-up {yardstick[days]:.1%}, bias {row['bias']:+.1%}, coverage {row['coverage_80']:.0%}{champion}"
            )
    return told | {"verdict": "\n".join(lines)}


def _check(name: str, judged: Judgement) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=asset_key(ACCURACY),
        passed=judged.passed,
        severity=dg.AssetCheckSeverity.ERROR if judged.is_certain else dg.AssetCheckSeverity.WARN,
        description=judged.message,
        metadata=judged.figures,
    )
