-- Good source makes of days before the ones being loaded that the raw table does not hold, per day.
SELECT incoming.make_date AS day, COUNT(*) AS late_rows
FROM staging.makes AS incoming
LEFT JOIN raw.makes AS stored
  ON stored.fan_hash = incoming.fan_hash
  AND stored.artist = incoming.artist
  AND stored.country = incoming.country
  AND stored.city = incoming.city
  AND stored.made_at = incoming.made_at
  AND stored.make_date < @first_day
WHERE incoming.problem IS NULL AND incoming.make_date < @first_day AND stored.fan_hash IS NULL
GROUP BY incoming.make_date
