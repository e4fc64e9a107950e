"""Contracts of the raw tables and of what the source must hold."""

from mmt_assets.contracts.spec import Column, Rule, TableContract

CONCERT_STATUSES = ("announced", "on_sale", "completed", "cancelled")
ORDER_STATUSES = ("paid", "refunded")

CONCERTS = TableContract(
    schema="raw",
    name="concerts",
    description="One row per concert version: what was known of a concert, and from which day on.",
    columns=(
        Column("concert_id", "STRING", "Concert, as the source names it"),
        Column("version", "INT64", "1 for the first version, then counted up", minimum=1),
        Column("known_from_date", "DATE", "First business day on which this version was known"),
        Column("artist", "STRING", "Artist"),
        Column("city", "STRING", "City"),
        Column("country", "STRING", "Country, as the source names it"),
        Column("venue", "STRING", "Venue", required=False),
        Column("capacity", "INT64", "Seats; null when unknown (a source's 0 means unknown)", required=False),
        Column("on_sale_at", "TIMESTAMP", "Start of ticket sales (UTC)", required=False),
        Column("show_at", "TIMESTAMP", "Start of the show (UTC)"),
        Column("show_date", "DATE", "Day of the show in the concert's own time zone"),
        Column("status", "STRING", "Status that this version of the source had", allowed=CONCERT_STATUSES),
        Column("status_at", "TIMESTAMP", "When the status was set (UTC)", required=False),
        Column("timezone", "STRING", "The concert's own time zone; null means the business one", required=False),
        Column("content_hash", "STRING", "SHA-256 of the values of this version: other values make a new one"),
    ),
    key=("concert_id", "version"),
    cluster_by=("concert_id",),
)

TICKET_ORDERS = TableContract(
    schema="raw",
    name="ticket_orders",
    description="One row per ticket order placed that business day. Carries no status: that changes later.",
    columns=(
        Column("order_id", "STRING", "Order"),
        Column("concert_id", "STRING", "Concert"),
        Column("ordered_at", "TIMESTAMP", "When the order was placed (UTC)"),
        Column("order_date", "DATE", "Business day of ordered_at"),
        Column("quantity", "INT64", "Tickets in the order", minimum=1),
        Column("unit_price", "NUMERIC", "Price of one ticket in `currency`", minimum=0),
        Column("currency", "STRING", "ISO 4217 code"),
    ),
    key=("order_id",),
    partition_column="order_date",
    cluster_by=("concert_id",),
)

TICKET_REFUNDS = TableContract(
    schema="raw",
    name="ticket_refunds",
    description="One row per order refunded that business day: a refund is known only from its own day on.",
    columns=(
        Column("order_id", "STRING", "Order that was refunded"),
        Column("concert_id", "STRING", "Concert"),
        Column(
            "refunded_at", "TIMESTAMP", "When it was refunded (UTC); null when the source does not say", required=False
        ),
        Column("refund_date", "DATE", "Business day of the refund, or the day on which it was first seen"),
        Column("quantity", "INT64", "Tickets given back", minimum=1),
        Column("unit_price", "NUMERIC", "Price of one ticket in `currency`", minimum=0),
        Column("currency", "STRING", "ISO 4217 code"),
    ),
    key=("order_id",),
    partition_column="refund_date",
    cluster_by=("concert_id",),
)

UNDATED_REFUNDS = TableContract(
    schema="raw",
    name="undated_refunds",
    description="Refunds for which the source gives no time, with the day on which they were first seen.",
    columns=(
        Column("order_id", "STRING", "Order that was refunded"),
        Column("first_seen_date", "DATE", "Business day on which the refund was first seen"),
    ),
    key=("order_id",),
)

MAKES = TableContract(
    schema="raw",
    name="makes",
    description="One row per make of that business day: a fan asked for an artist in a city.",
    columns=(
        Column("fan_hash", "STRING", "HMAC-SHA-256 of the fan's id; the id itself is never stored"),
        Column("artist", "STRING", "Artist asked for"),
        Column("city", "STRING", "City asked for"),
        Column("country", "STRING", "Country of that city"),
        Column("made_at", "TIMESTAMP", "When the fan asked (UTC)"),
        Column("make_date", "DATE", "Business day of made_at"),
    ),
    key=("fan_hash", "artist", "country", "city", "made_at"),
    partition_column="make_date",
    cluster_by=("artist", "city"),
)

REJECTED_ROWS = TableContract(
    schema="raw",
    name="rejected_rows",
    description="Source rows that were not taken, with the reason: nothing is dropped silently.",
    columns=(
        Column(
            "source_table",
            "STRING",
            "Raw table that refused the row",
            allowed=("concerts", "ticket_orders", "ticket_refunds", "makes"),
        ),
        Column(
            "partition_date",
            "DATE",
            "Business day that the row belongs to; null when it cannot be read",
            required=False,
        ),
        Column("reason", "STRING", "Why the row was refused"),
        Column("source_file", "STRING", "File, or table, that the row came from"),
        Column("source_row", "INT64", "Number of the row in that file, from 0"),
        Column("row_json", "STRING", "The row as JSON; fan ids are hashed"),
    ),
    key=("source_table", "source_file", "source_row"),
    partition_column="partition_date",
    cluster_by=("source_table",),
    rules=(Rule("reason_given", "Every rejected row says why", "reason = ''"),),
)

RAW_TABLES = (CONCERTS, TICKET_ORDERS, TICKET_REFUNDS, UNDATED_REFUNDS, MAKES, REJECTED_ROWS)
