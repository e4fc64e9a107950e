-- Bad makes of the slice, and those whose day cannot be read.
SELECT
  'makes' AS source_table,
  make_date AS partition_date,
  problem AS reason,
  source_file,
  source_row,
  TO_JSON_STRING(STRUCT(
    fan_hash AS fan_hash, artist AS artist, city AS city, country AS country, made_at_text AS made_at
  )) AS row_json
FROM staging.makes
WHERE problem IS NOT NULL AND (make_date IS NULL OR make_date BETWEEN @first_day AND @last_day)
