-- Makes per artist, city and business day; a fan counts as new on the day of the first make for artist and city.
WITH makes AS (
  SELECT
    artist,
    country,
    city,
    make_date,
    ROW_NUMBER() OVER (PARTITION BY fan_hash, artist, country, city ORDER BY made_at) = 1 AS is_new_fan
  FROM raw.makes
  WHERE make_date <= @last_day
)
SELECT
  artist,
  country,
  city,
  make_date AS demand_date,
  COUNT(*) AS makes_count,
  COUNTIF(is_new_fan) AS new_fans_count
FROM makes
WHERE make_date >= @first_day
GROUP BY artist, country, city, make_date
