"""Contracts of the feature tables."""

from mmt_assets.contracts.spec import Column, Rule, TableContract

CONCERT_SALES = TableContract(
    schema="features",
    name="concert_sales",
    description="Sales per concert and business day. Sparse: no row between on-sale and the as-of date means zero.",
    columns=(
        Column("concert_id", "STRING", "Concert"),
        Column("sales_date", "DATE", "Business day"),
        Column("orders_count", "INT64", "Orders placed that day", minimum=0),
        Column("tickets_sold", "INT64", "Tickets sold that day, gross of refunds", minimum=0),
        Column("tickets_refunded", "INT64", "Tickets refunded that day, whenever they were sold", minimum=0),
        Column("tickets_net", "INT64", "tickets_sold - tickets_refunded; negative when refunds prevail"),
        Column("gross_revenue", "NUMERIC", "Value of the orders placed that day in `currency`", minimum=0),
        Column("currency", "STRING", "ISO 4217 code"),
    ),
    key=("concert_id", "sales_date"),
    partition_column="sales_date",
    cluster_by=("concert_id",),
    rules=(
        Rule(
            "net_adds_up",
            "tickets_net = tickets_sold - tickets_refunded",
            "tickets_net != tickets_sold - tickets_refunded",
        ),
    ),
)

CITY_DEMAND = TableContract(
    schema="features",
    name="city_demand",
    description="Fans' demand per artist, country, city and business day.",
    columns=(
        Column("artist", "STRING", "Artist asked for"),
        Column("country", "STRING", "Country"),
        Column("city", "STRING", "City"),
        Column("demand_date", "DATE", "Business day"),
        Column("makes_count", "INT64", "Makes of that day", minimum=1),
        Column("new_fans_count", "INT64", "Fans whose first make for this artist and city was that day", minimum=0),
    ),
    key=("artist", "country", "city", "demand_date"),
    partition_column="demand_date",
    cluster_by=("artist", "city"),
    rules=(Rule("new_fans_within_makes", "new_fans_count <= makes_count", "new_fans_count > makes_count"),),
)

FEATURE_TABLES = (CONCERT_SALES, CITY_DEMAND)
