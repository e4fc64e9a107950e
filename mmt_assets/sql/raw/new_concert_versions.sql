-- Concerts that are new or have changed since their last version, with the day from which that is known.
-- First load ever: from the beginning. New concert: the day being loaded, or its on-sale or first order if that is
-- earlier. Change: the day being loaded, so that no earlier as-of date sees it.
WITH stored AS (
  SELECT concert_id, version, content_hash, known_from_date
  FROM raw.concerts
  QUALIFY ROW_NUMBER() OVER (PARTITION BY concert_id ORDER BY version DESC) = 1
),
dated AS (
  SELECT
    parsed.*,
    COALESCE(DATE(parsed.on_sale_at, @timezone), @loaded_day) AS on_sale_day,
    COALESCE(DATE(first_orders.first_order_at, @timezone), @loaded_day) AS first_order_day,
    DATE(parsed.show_at, COALESCE(parsed.timezone, @timezone)) AS show_date
  FROM staging.concerts AS parsed
  LEFT JOIN staging.first_orders AS first_orders ON first_orders.concert_id = parsed.concert_id
  WHERE parsed.problem IS NULL
)
SELECT
  dated.concert_id,
  COALESCE(stored.version, 0) + 1 AS version,
  CASE
    WHEN @is_first_load THEN DATE '1900-01-01'
    WHEN stored.concert_id IS NULL THEN LEAST(@loaded_day, dated.on_sale_day, dated.first_order_day)
    WHEN stored.known_from_date > @loaded_day THEN stored.known_from_date
    ELSE @loaded_day
  END AS known_from_date,
  dated.artist,
  dated.city,
  dated.country,
  dated.venue,
  dated.capacity,
  dated.on_sale_at,
  dated.show_at,
  dated.show_date,
  dated.status,
  dated.status_at,
  dated.timezone,
  dated.content_hash
FROM dated
LEFT JOIN stored ON stored.concert_id = dated.concert_id
WHERE stored.content_hash IS NULL OR stored.content_hash != dated.content_hash
