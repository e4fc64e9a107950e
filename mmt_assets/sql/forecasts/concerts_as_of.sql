-- Every concert as it was known at the end of @as_of, with its status derived for that day.
WITH known AS (
  SELECT *
  FROM raw.concerts
  WHERE known_from_date <= @as_of
  QUALIFY ROW_NUMBER() OVER (PARTITION BY concert_id ORDER BY version DESC) = 1
),
sales AS (
  SELECT
    concert_id,
    MIN(CASE WHEN orders_count > 0 THEN sales_date END) AS first_order_date,
    MIN(currency) AS currency
  FROM features.concert_sales
  WHERE sales_date <= @as_of
  GROUP BY concert_id
),
dated AS (
  SELECT
    known.*,
    COALESCE(DATE(known.on_sale_at, @timezone), sales.first_order_date) AS on_sale_date,
    COALESCE(DATE(known.status_at, @timezone), known.known_from_date) AS status_date,
    sales.currency
  FROM known
  LEFT JOIN sales ON sales.concert_id = known.concert_id
)
SELECT
  concert_id,
  artist,
  city,
  country,
  venue,
  capacity,
  on_sale_date,
  show_date,
  CASE
    WHEN status = 'cancelled' AND status_date <= @as_of THEN 'cancelled'
    WHEN show_date < @as_of THEN 'completed'
    WHEN on_sale_date <= @as_of THEN 'on_sale'
    ELSE 'announced'
  END AS status,
  currency
FROM dated
ORDER BY concert_id
