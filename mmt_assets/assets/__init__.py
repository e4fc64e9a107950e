"""Assets and their checks: thin shells around SQL in the warehouse and the worker."""
