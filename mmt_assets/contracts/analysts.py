"""Contracts of the tables that analysts and promoters decide on: accuracy, proposals, what-if results."""

from mmt_assets.contracts.forecasts import ORIGIN, RUN_COLUMNS
from mmt_assets.contracts.spec import Column, Rule, TableContract

SCORED_MODELS = ("published", "additive_pickup")
SEGMENTS = ("all", "country", "method", "champion")

ACCURACY = TableContract(
    schema="forecasts",
    name="accuracy",
    description="What was forecast so many days before the show against what happened, one forecast a concert.",
    columns=(
        ORIGIN,
        Column("days_to_show", "INT64", "Days before the show; a forecast within 10% of it counts", minimum=1),
        Column(
            "model",
            "STRING",
            "published: what was published; additive_pickup: the yardstick, on the same forecasts",
            allowed=SCORED_MODELS,
        ),
        Column("segment_by", "STRING", "What the concerts are told apart by", allowed=SEGMENTS),
        Column("segment", "STRING", "Country, method or champion; 'all' for all together"),
        Column("is_headline", "BOOL", "Rows to show first: live from 30 concerts on, backfill until then"),
        Column("concerts_count", "INT64", "Completed concerts, each with one forecast", minimum=1),
        Column("first_show_date", "DATE", "First show among them"),
        Column("last_show_date", "DATE", "Last show among them"),
        Column("actual_tickets", "INT64", "Net tickets that they had sold at the show"),
        Column("forecast_tickets", "FLOAT64", "Net tickets that were forecast (p50)", minimum=0),
        Column("wape", "FLOAT64", "Sum of absolute errors over actual tickets; null without any", required=False),
        Column("bias", "FLOAT64", "Forecast minus actual over actual tickets; above 0 is too high", required=False),
        Column("coverage_80", "FLOAT64", "Share of concerts inside p10 to p90; null for pick-up", required=False),
        Column(
            "expected_coverage",
            "FLOAT64",
            "Share that right intervals hold: 80%, more where they end at the capacity; null for pick-up",
            required=False,
        ),
        Column(
            "sell_out_brier",
            "FLOAT64",
            "Mean squared error of the sell-out probability; null without capacities",
            required=False,
        ),
        Column("champion", "STRING", "Single model that most often weighed most", required=False),
        Column("champion_share", "FLOAT64", "Share of these forecasts in which it did", required=False),
        Column("scored_until_date", "DATE", "Outcomes up to the end of this business day count"),
        *RUN_COLUMNS,
    ),
    key=("origin", "days_to_show", "model", "segment_by", "segment"),
    rules=(
        Rule("coverage_in_range", "0 <= coverage_80 <= 1", "coverage_80 < 0 OR coverage_80 > 1"),
        Rule("brier_in_range", "0 <= sell_out_brier <= 1", "sell_out_brier < 0 OR sell_out_brier > 1"),
    ),
)

ANALYST_TABLES = (ACCURACY,)
