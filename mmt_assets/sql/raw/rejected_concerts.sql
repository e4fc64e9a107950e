-- Concerts that cannot be used. They belong to no day: the source says nothing of when a row was written.
SELECT
  'concerts' AS source_table,
  CAST(NULL AS DATE) AS partition_date,
  problem AS reason,
  source_file,
  source_row,
  row_json
FROM staging.concerts
WHERE problem IS NOT NULL
