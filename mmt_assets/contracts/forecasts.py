"""Contracts of the forecast tables."""

from mmt_assets.contracts.spec import Column, Rule, TableContract, quantiles_ordered

ORIGINS = ("live", "backfill")

ORIGIN = Column(
    "origin", "STRING", "live: published on its day or on demand; backfill: made afterwards", allowed=ORIGINS
)
RUN_COLUMNS = (
    Column("computed_at", "TIMESTAMP", "When the row was computed (UTC)"),
    Column("run_id", "STRING", "Dagster run"),
    Column("run_created_at", "TIMESTAMP", "When that run was created (UTC): the fence against older runs"),
    Column("commit", "STRING", "Commit of the source code; 'unknown' outside a checkout"),
    Column("lock_hash", "STRING", "SHA-256 of the lock file that the environment was built from"),
)
PROVENANCE_COLUMNS = tuple(column.name for column in RUN_COLUMNS)
PROVENANCE = (Column("method", "STRING", "Model that made the row"), ORIGIN, *RUN_COLUMNS)

AS_OF = Column("as_of_date", "DATE", "End of this business day: nothing later is known")
CONCERT = Column("concert_id", "STRING", "Concert")


def quantile_columns(prefix: str, what: str, *, minimum: float | None = None) -> tuple[Column, ...]:
    """Three quantile columns of one quantity."""
    return tuple(
        Column(f"{prefix}_p{level}", "FLOAT64", f"{what}, {level}% quantile", minimum=minimum) for level in (10, 50, 90)
    )


_PATH = (
    Column("sales_date", "DATE", "Future business day"),
    *quantile_columns("tickets", "Net tickets of that day"),
    *quantile_columns("cumulative_tickets", "Net tickets sold up to that day", minimum=0),
    *quantile_columns("cumulative_gross_tickets", "Tickets sold up to that day, gross of refunds", minimum=0),
)

_OUTLOOK = (
    Column("artist", "STRING", "Artist"),
    Column("city", "STRING", "City"),
    Column("country", "STRING", "Country"),
    Column("venue", "STRING", "Venue", required=False),
    Column("currency", "STRING", "Currency of the orders", required=False),
    Column("status", "STRING", "Status as of the day", allowed=("announced", "on_sale")),
    Column("on_sale_date", "DATE", "First day of sale", required=False),
    Column("show_date", "DATE", "Day of the show"),
    Column("days_to_show", "INT64", "show_date - as_of_date", minimum=0),
    Column("gross_sold", "INT64", "Tickets sold so far, gross of refunds", minimum=0),
    Column("refunded", "INT64", "Tickets refunded so far", minimum=0),
    Column("sold", "INT64", "Net tickets sold so far"),
    Column("capacity", "INT64", "Seats; null when unknown", required=False),
    Column("sell_through_pct", "FLOAT64", "sold / capacity in percent", required=False),
    *quantile_columns("final", "Net tickets at the show", minimum=0),
    Column("final_gross_p50", "FLOAT64", "Tickets at the show, gross of refunds, 50% quantile", minimum=0),
    Column(
        "sell_out_probability", "FLOAT64", "Probability of a sell-out; null without capacity", required=False, minimum=0
    ),
    Column("sell_out_date", "DATE", "Day on which the median path reaches capacity", required=False),
    Column("pace_tickets", "FLOAT64", "Tickets ahead of (+) or behind (-) the comparables", required=False),
    Column("pace_pct", "FLOAT64", "The same in percent", required=False),
    Column("comparables", "STRING", "Finished concerts that the pace is measured against", required=False),
    Column("demand_fans", "INT64", "Fans who asked for this artist in this city", required=False, minimum=0),
    Column("status_flag", "STRING", "What deserves attention"),
    Column("method_reason", "STRING", "Why this method was used"),
    Column("champion", "STRING", "Single model that weighed most; null where several did", required=False),
)
_OUTLOOK_RULES = (
    Rule("probability_in_range", "0 <= sell_out_probability <= 1", "sell_out_probability > 1"),
    Rule(
        "final_within_capacity",
        "final_p90 <= max(capacity, sold)",
        "capacity IS NOT NULL AND final_p90 > IF(capacity > sold, capacity, sold) + 1e-6",
    ),
    Rule("gross_never_falls", "final_gross_p50 >= gross_sold", "final_gross_p50 < gross_sold - 1e-6"),
    quantiles_ordered("final"),
)

TICKET_SALES = TableContract(
    schema="forecasts",
    name="ticket_sales",
    description="Forecast per as-of date, concert and future sales date: tickets and cumulative tickets.",
    columns=(AS_OF, CONCERT, *_PATH, *PROVENANCE),
    key=("as_of_date", "concert_id", "sales_date"),
    partition_column="as_of_date",
    cluster_by=("concert_id",),
    rules=(
        quantiles_ordered("tickets", "cumulative_tickets", "cumulative_gross_tickets"),
        Rule("future_only", "sales_date > as_of_date", "sales_date <= as_of_date"),
    ),
)

CONCERT_OUTLOOK = TableContract(
    schema="forecasts",
    name="concert_outlook",
    description="One row per as-of date and active concert: sold, final forecast, sell-out, pace, status flag.",
    columns=(AS_OF, CONCERT, *_OUTLOOK, *PROVENANCE),
    key=("as_of_date", "concert_id"),
    partition_column="as_of_date",
    cluster_by=("concert_id",),
    rules=_OUTLOOK_RULES,
)

BOOKING_CURVES = TableContract(
    schema="forecasts",
    name="booking_curves",
    description="The pooled booking curve per segment that the forecasts of that day used.",
    columns=(
        AS_OF,
        Column("segment", "STRING", "Concerts that share the curve"),
        Column(
            "dimension", "STRING", "What the buckets count", allowed=("days_since_on_sale", "days_to_show", "weekday")
        ),
        Column("bucket_start", "INT64", "First value of the bucket", minimum=0),
        Column("bucket_end", "INT64", "Last value of the bucket", minimum=0),
        Column("intensity", "FLOAT64", "Relative sales intensity; the three dimensions multiply", minimum=0),
        Column("concerts_count", "INT64", "Finished concerts behind the curve", minimum=0),
        *PROVENANCE,
    ),
    key=("as_of_date", "segment", "dimension", "bucket_start"),
    partition_column="as_of_date",
)

CONCERT_FORECAST = TableContract(
    schema="forecasts",
    name="concert_forecast",
    description="The current forecast of each concert, from its as-of date on; outlook columns are repeated.",
    columns=(CONCERT, AS_OF, *_PATH, *_OUTLOOK, *PROVENANCE),
    key=("concert_id", "sales_date"),
    cluster_by=("concert_id",),
    rules=(quantiles_ordered("tickets", "cumulative_tickets", "cumulative_gross_tickets"), *_OUTLOOK_RULES[:-1]),
)

PUBLISHED_OUTLOOK = TableContract(
    schema="forecasts",
    name="published_outlook",
    description="Append-only: every live outlook row as it was published. Accuracy is judged on it.",
    columns=CONCERT_OUTLOOK.columns,
    key=("as_of_date", "concert_id", "run_id"),
    partition_column="as_of_date",
    cluster_by=("concert_id",),
)

OUTLOOK_CHANGES = TableContract(
    schema="forecasts",
    name="outlook_changes",
    description="Why each median total differs from the one of the day before, in tickets; live forecasts only.",
    columns=(
        AS_OF,
        CONCERT,
        Column("earlier_as_of_date", "DATE", "As-of date of the earlier forecast"),
        Column("earlier_p50", "FLOAT64", "Net tickets at the show that it expected (p50)", minimum=0),
        Column("final_p50", "FLOAT64", "Net tickets at the show that are expected now (p50)", minimum=0),
        Column(
            "from_curve", "FLOAT64", "Learned anew from other concerts (curves, prior, weights); late rows, new code"
        ),
        Column("from_demand", "FLOAT64", "Fans who asked since"),
        Column("from_concert", "FLOAT64", "Capacity, dates or place of the concert changed"),
        Column("from_sales", "FLOAT64", "Tickets sold since, against those that were expected"),
        Column("from_refunds", "FLOAT64", "Tickets refunded since"),
        *RUN_COLUMNS,
    ),
    key=("as_of_date", "concert_id"),
    partition_column="as_of_date",
    cluster_by=("concert_id",),
    rules=(
        Rule(
            "causes_add_up",
            "the causes add up to the change",
            "ABS(final_p50 - earlier_p50 - from_curve - from_demand - from_concert - from_sales - from_refunds) > 1e-6",
        ),
    ),
)

CITY_DEMAND_FORECAST = TableContract(
    schema="forecasts",
    name="city_demand_forecast",
    description="Fans' demand ahead per as-of date, artist, country and city, in the next 7 to 84 days.",
    columns=(
        AS_OF,
        Column("artist", "STRING", "Artist asked for"),
        Column("country", "STRING", "Country"),
        Column("city", "STRING", "City"),
        Column("demand_date", "DATE", "Future business day, the last one that is counted"),
        Column("days_ahead", "INT64", "demand_date - as_of_date", minimum=1),
        Column("makes_so_far", "INT64", "Makes up to the as-of date", minimum=0),
        Column("fans_so_far", "INT64", "Fans up to the as-of date", minimum=0),
        *quantile_columns("makes", "Makes after the as-of date, up to demand_date together", minimum=0),
        *quantile_columns("fans", "Fans by the end of demand_date, those so far included", minimum=0),
        Column("method_reason", "STRING", "Why this method was used"),
        *PROVENANCE,
    ),
    key=("as_of_date", "artist", "country", "city", "demand_date"),
    partition_column="as_of_date",
    cluster_by=("artist", "city"),
    rules=(
        quantiles_ordered("makes", "fans"),
        Rule("future_only", "demand_date > as_of_date", "demand_date <= as_of_date"),
        Rule("fans_never_fall", "fans_p10 >= fans_so_far", "fans_p10 < fans_so_far - 1e-6"),
    ),
)

FORECAST_TABLES = (
    TICKET_SALES,
    CONCERT_OUTLOOK,
    BOOKING_CURVES,
    CITY_DEMAND_FORECAST,
    CONCERT_FORECAST,
    PUBLISHED_OUTLOOK,
    OUTLOOK_CHANGES,
)
