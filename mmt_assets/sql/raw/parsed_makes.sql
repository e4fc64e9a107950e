-- Every source make up to @last_day with its values read, and the first thing that is wrong with it.
-- Fan ids leave this statement only as HMAC-SHA-256 (RFC 2104), whose padded keys are bound parameters.
WITH hashed AS (
  SELECT
    TO_HEX(SHA256(CONCAT(@outer_pad, SHA256(CONCAT(@inner_pad, CAST(fan_id AS BYTES)))))) AS fan_hash,
    artist,
    city,
    country,
    made_at AS made_at_text,
    SAFE_CAST(made_at AS TIMESTAMP) AS made_at,
    source_file,
    source_row
  FROM source.makes
),
dated AS (
  SELECT *, COALESCE(made_at >= TIMESTAMP '2000-01-01' AND made_at < TIMESTAMP '2100-01-01', FALSE) AS is_readable
  FROM hashed
),
days AS (
  SELECT *, CASE WHEN is_readable THEN DATE(made_at, @timezone) END AS make_date
  FROM dated
),
judged AS (
  SELECT
    *,
    CASE
      WHEN fan_hash IS NULL THEN 'missing fan_id'
      WHEN made_at IS NULL THEN 'unreadable made_at'
      WHEN NOT is_readable THEN 'impossible made_at'
      WHEN artist IS NULL THEN 'missing artist'
      WHEN city IS NULL THEN 'missing city'
      WHEN country IS NULL THEN 'missing country'
    END AS problem
  FROM days
  -- Not with OR: the day would be worked out twice.
  WHERE COALESCE(make_date <= @last_day, TRUE)
),
ranked AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY fan_hash, artist, country, city, made_at, problem IS NULL ORDER BY source_file, source_row
    ) AS occurrence
  FROM judged
)
SELECT
  fan_hash,
  artist,
  city,
  country,
  made_at,
  make_date,
  source_file,
  source_row,
  made_at_text,
  CASE WHEN problem IS NOT NULL THEN problem WHEN occurrence > 1 THEN 'duplicate make' END AS problem
FROM ranked
