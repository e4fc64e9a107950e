-- Good makes of the slice.
SELECT fan_hash, artist, city, country, made_at, make_date
FROM staging.makes
WHERE problem IS NULL AND make_date BETWEEN @first_day AND @last_day
