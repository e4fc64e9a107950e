-- Every source concert with its values read, and the first thing that is wrong with it.
WITH typed AS (
  SELECT
    concert_id,
    artist,
    city,
    country,
    venue,
    capacity AS capacity_text,
    SAFE_CAST(capacity AS NUMERIC(18, 4)) AS capacity,
    on_sale_at AS on_sale_at_text,
    SAFE_CAST(on_sale_at AS TIMESTAMP) AS on_sale_at,
    SAFE_CAST(show_at AS TIMESTAMP) AS show_at,
    show_at AS show_at_text,
    LOWER(status) AS status,
    status_at AS status_at_text,
    SAFE_CAST(status_at AS TIMESTAMP) AS status_at,
    timezone,
    source_file,
    source_row,
    TO_JSON_STRING(STRUCT(
      concert_id AS concert_id, artist AS artist, city AS city, country AS country, venue AS venue,
      capacity AS capacity, on_sale_at AS on_sale_at, show_at AS show_at, status AS status,
      status_at AS status_at, timezone AS timezone
    )) AS row_json
  FROM source.concerts
),
judged AS (
  SELECT
    *,
    CASE
      WHEN concert_id IS NULL THEN 'missing concert_id'
      WHEN artist IS NULL THEN 'missing artist'
      WHEN city IS NULL THEN 'missing city'
      WHEN country IS NULL THEN 'missing country'
      WHEN show_at IS NULL THEN 'unreadable show_at'
      WHEN NOT COALESCE(EXTRACT(YEAR FROM show_at) BETWEEN 2000 AND 2099, FALSE) THEN 'impossible show_at'
      WHEN on_sale_at_text IS NOT NULL AND on_sale_at IS NULL THEN 'unreadable on_sale_at'
      WHEN on_sale_at_text IS NOT NULL
        AND NOT COALESCE(EXTRACT(YEAR FROM on_sale_at) BETWEEN 2000 AND 2099, FALSE) THEN 'impossible on_sale_at'
      WHEN on_sale_at > show_at THEN 'on sale after the show'
      WHEN status_at_text IS NOT NULL AND status_at IS NULL THEN 'unreadable status_at'
      WHEN status_at_text IS NOT NULL
        AND NOT COALESCE(EXTRACT(YEAR FROM status_at) BETWEEN 2000 AND 2099, FALSE) THEN 'impossible status_at'
      WHEN status IS NULL OR status NOT IN UNNEST(@concert_statuses) THEN 'unknown status'
      WHEN capacity_text IS NOT NULL AND (capacity IS NULL OR capacity != TRUNC(capacity))
        THEN 'unreadable capacity'
      WHEN capacity < 0 THEN 'negative capacity'
      WHEN timezone IS NOT NULL AND timezone NOT IN UNNEST(@timezones) THEN 'unknown timezone'
    END AS problem
  FROM typed
),
ranked AS (
  SELECT
    *,
    ROW_NUMBER() OVER (PARTITION BY concert_id, problem IS NULL ORDER BY source_file, source_row) AS occurrence
  FROM judged
)
SELECT
  ranked.concert_id,
  ranked.artist,
  ranked.city,
  ranked.country,
  ranked.venue,
  CAST(NULLIF(ranked.capacity, 0) AS INT64) AS capacity,
  ranked.on_sale_at,
  ranked.show_at,
  ranked.status,
  ranked.status_at,
  ranked.timezone,
  ranked.source_file,
  ranked.source_row,
  ranked.row_json,
  -- Of the values as they were read: another file format, or way to write a time, makes no new version.
  TO_HEX(SHA256(TO_JSON_STRING(STRUCT(
    ranked.artist AS artist, ranked.city AS city, ranked.country AS country, ranked.venue AS venue,
    CAST(NULLIF(ranked.capacity, 0) AS INT64) AS capacity, ranked.on_sale_at AS on_sale_at,
    ranked.show_at AS show_at, ranked.status AS status, ranked.status_at AS status_at, ranked.timezone AS timezone
  )))) AS content_hash,
  CASE
    WHEN ranked.problem IS NOT NULL THEN ranked.problem
    WHEN ranked.occurrence > 1 THEN 'duplicate concert_id'
  END AS problem
FROM ranked
