-- The newest as-of date up to @until that has an outlook, and the one before it.
SELECT as_of_date
FROM forecasts.concert_outlook
WHERE as_of_date <= @until
GROUP BY as_of_date
ORDER BY as_of_date DESC
LIMIT 2
