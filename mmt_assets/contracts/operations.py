"""Contracts of the tables that keep the pipeline itself in order."""

from mmt_assets.contracts.spec import Column, TableContract

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

OPERATIONS_TABLES = (WRITE_FENCES,)
