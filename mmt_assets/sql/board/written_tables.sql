-- Tables that were written at least once.
SELECT DISTINCT table_name
FROM operations.write_fences
