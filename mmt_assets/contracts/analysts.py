"""Contracts of the tables that analysts and promoters decide on: accuracy, proposals, what-if results."""

from mmt_assets.contracts.forecasts import AS_OF, ORIGIN, PROVENANCE, RUN_COLUMNS, quantile_columns
from mmt_assets.contracts.spec import Column, Rule, TableContract, quantiles_ordered

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

CONCERT_PROPOSALS = TableContract(
    schema="forecasts",
    name="concert_proposals",
    description="Where a concert should be proposed: fans, their pace, and what it would sell at several capacities.",
    columns=(
        AS_OF,
        Column("artist", "STRING", "Artist asked for"),
        Column("country", "STRING", "Country"),
        Column("city", "STRING", "City"),
        Column("capacity", "INT64", "Seats of the hall that is looked at", minimum=1),
        Column("proposal_rank", "INT64", "1 is the best place; the same for all capacities of a place", minimum=1),
        Column("is_recommended", "BOOL", "Largest capacity expected to sell 80%, else the smallest"),
        Column("fans_so_far", "INT64", "Fans up to the as-of date", minimum=0),
        Column("fans_per_week", "FLOAT64", "New fans a week, over the last four weeks", minimum=0),
        Column("pace_change_pct", "FLOAT64", "The same against the four weeks before, in percent", required=False),
        Column("threshold_fans", "INT64", "Fans from which a concert is worth proposing", minimum=1),
        Column("is_threshold_reached", "BOOL", "Whether so many fans have asked"),
        Column(
            "threshold_date",
            "DATE",
            "Day on which they had, else the one on which the median forecast has; null beyond 84 days",
            required=False,
        ),
        Column("threshold_date_early", "DATE", "The same by the 90% quantile of demand", required=False),
        Column("threshold_date_late", "DATE", "The same by the 10% quantile of demand", required=False),
        Column("assumed_on_sale_date", "DATE", "Assumed start of the sale, four weeks ahead"),
        Column("assumed_show_date", "DATE", "Assumed show: a usual sale's length later, on the usual weekday"),
        *quantile_columns("tickets", "Net tickets that the concert would sell", minimum=0),
        Column("sell_through_pct", "FLOAT64", "tickets_p50 / capacity in percent", minimum=0),
        Column("sell_out_probability", "FLOAT64", "Probability of a sell-out", minimum=0),
        Column("comparables", "STRING", "Finished concerts that are most alike", required=False),
        Column("planned_concerts", "STRING", "The artist's concerts that are ahead there", required=False),
        Column("last_show_date", "DATE", "The artist's last show there", required=False),
        Column("method_reason", "STRING", "Where the interval comes from"),
        *PROVENANCE,
    ),
    key=("as_of_date", "artist", "country", "city", "capacity"),
    partition_column="as_of_date",
    cluster_by=("artist", "city"),
    rules=(
        quantiles_ordered("tickets"),
        Rule("within_capacity", "tickets_p90 <= capacity", "tickets_p90 > capacity + 1e-6"),
        Rule("probability_in_range", "sell_out_probability <= 1", "sell_out_probability > 1"),
        Rule(
            "threshold_dates_in_order",
            "threshold_date_early <= threshold_date <= threshold_date_late",
            "threshold_date_early > threshold_date OR threshold_date > threshold_date_late",
        ),
    ),
)

ANALYST_TABLES = (ACCURACY, CONCERT_PROPOSALS)
