"""Plain clients of Google Cloud: no Dagster, no login at import."""
