"""GoogleSQL files: run natively on BigQuery, transpiled for DuckDB."""
