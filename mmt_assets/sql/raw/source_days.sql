-- First and last business day on which the source says that anything happened.
WITH instants AS (
  SELECT SAFE_CAST(ordered_at AS TIMESTAMP) AS happened_at FROM source.ticket_orders
  UNION ALL
  SELECT SAFE_CAST(made_at AS TIMESTAMP) FROM source.makes
)
SELECT MIN(DATE(happened_at, @timezone)) AS first_day, MAX(DATE(happened_at, @timezone)) AS last_day
FROM instants
WHERE EXTRACT(YEAR FROM happened_at) BETWEEN 2000 AND 2099
