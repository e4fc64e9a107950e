"""Contracts of the tables that keep the pipeline itself in order."""

from mmt_assets.contracts.spec import Column, Rule, TableContract

WRITE_FENCES = TableContract(
    schema="operations",
    name="write_fences",
    description="Which run last wrote each slice: an older run that wakes up late is refused.",
    columns=(
        Column("table_name", "STRING", "Table that was written, as schema.name"),
        Column("slice_group", "STRING", "Part of the table that the slice belongs to, '' for the whole"),
        Column("slice_low", "STRING", "First value of the slice (ISO date or key)"),
        Column("slice_high", "STRING", "Last value of the slice (ISO date or key)"),
        Column("run_created_at", "TIMESTAMP", "When the run that wrote it was created (UTC)"),
        Column("run_id", "STRING", "Run that wrote it"),
    ),
    key=("table_name", "slice_group", "slice_low", "slice_high"),
)

VM_LEDGER = TableContract(
    schema="operations",
    name="vm_ledger",
    description="Every session of an analysis server: whose run, from its start until it was gone, what it cost.",
    columns=(
        Column("session_id", "STRING", "Zone, machine and start, as zone/machine/start"),
        Column("run_id", "STRING", "Dagster run that the machine worked for"),
        Column("machine", "STRING", "Name of the machine"),
        Column("zone", "STRING", "Zone"),
        Column("machine_type", "STRING", "Machine type, '' where it was not told"),
        Column("provisioning", "STRING", "How it was paid for", allowed=("spot", "on_demand")),
        Column("started_at", "TIMESTAMP", "When the machine started (UTC)"),
        Column("gone_at", "TIMESTAMP", "When it was first seen to be gone (UTC); null while it is not", required=False),
        Column(
            "ended_by",
            "STRING",
            "Who ended it, or saw that it had ended itself",
            required=False,
            allowed=("run", "release_sensor", "finished_sensor", "reaper", "ledger"),
        ),
        Column("billed_seconds", "INT64", "Seconds from its start until it was gone", required=False, minimum=0),
        Column("price_per_second", "FLOAT64", "Price of a second, where one is set", required=False, minimum=0),
        Column("cost", "FLOAT64", "Billed seconds at that price", required=False, minimum=0),
        Column("currency", "STRING", "Currency of price and cost (ISO 4217)"),
        Column("recorded_at", "TIMESTAMP", "When this was recorded (UTC)"),
    ),
    key=("session_id",),
    rules=(
        Rule("gone_after_start", "A machine is gone after it has started", "gone_at < started_at"),
        Rule(
            "gone_is_billed",
            "A machine that is gone has billed seconds",
            "gone_at IS NOT NULL AND billed_seconds IS NULL",
        ),
    ),
)

NOTIFICATIONS = TableContract(
    schema="operations",
    name="notifications",
    description="What people were told: one row per spell of an alert, so that nobody is told twice.",
    columns=(
        Column("notification_id", "STRING", "Kind, subject and first day of the spell"),
        Column("kind", "STRING", "data_glitch, stalled, behind or likely_sell_out"),
        Column("subject", "STRING", "Concert; '' for the data as a whole"),
        Column("first_date", "DATE", "As-of date on which it was told"),
        Column("last_date", "DATE", "Latest as-of date on which it still held"),
        Column("message", "STRING", "What was told"),
        Column("notified_at", "TIMESTAMP", "When a channel took it (UTC)"),
    ),
    key=("notification_id",),
)

OPERATIONS_TABLES = (WRITE_FENCES, VM_LEDGER, NOTIFICATIONS)
