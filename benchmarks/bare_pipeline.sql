-- The tables of raw and features for days of one source, by hand: what the pipeline's run is measured against.
-- The same rows, unusable ones kept apart with a reason; no late rows, fences, checks of keys or counts of changes.
-- Variables: source (directory), first and last (days).
CREATE SCHEMA raw;
CREATE SCHEMA features;

CREATE TABLE raw.concerts AS
SELECT
  concert_id, artist, city, country, venue, capacity, on_sale_at, show_at,
  (show_at AT TIME ZONE 'UTC')::DATE AS show_date, status, status_at, timezone,
  sha256(concat_ws('|', artist, city, country, venue, capacity, on_sale_at, show_at, status, status_at)) AS content_hash
FROM read_parquet(getvariable('source') || '/concerts.parquet')
WHERE concert_id IS NOT NULL AND artist IS NOT NULL AND city IS NOT NULL AND country IS NOT NULL
  AND show_at IS NOT NULL AND COALESCE(on_sale_at <= show_at, TRUE)
QUALIFY ROW_NUMBER() OVER (PARTITION BY concert_id ORDER BY show_at) = 1;

CREATE TEMP TABLE judged_orders AS
WITH typed AS (
  SELECT
    orders.* EXCLUDE (unit_price), TRY_CAST(unit_price AS DECIMAL(18, 4)) AS unit_price,
    (ordered_at AT TIME ZONE 'UTC')::DATE AS order_date, (orders.status_at AT TIME ZONE 'UTC')::DATE AS refund_date,
    concerts.concert_id IS NOT NULL AS is_known, file_row_number
  FROM read_parquet(getvariable('source') || '/ticket_orders.parquet', file_row_number = true) AS orders
  LEFT JOIN raw.concerts AS concerts USING (concert_id)
)
SELECT
  *,
  CASE
    WHEN order_id IS NULL THEN 'missing order_id'
    WHEN ordered_at IS NULL THEN 'unreadable ordered_at'
    WHEN NOT is_known THEN 'unknown concert'
    WHEN quantity IS NULL OR quantity <= 0 THEN 'quantity is not positive'
    WHEN unit_price IS NULL OR unit_price < 0 THEN 'unreadable or negative unit_price'
    WHEN currency IS NULL OR NOT regexp_full_match(currency, '[A-Z]{3}') THEN 'unknown currency'
    WHEN status NOT IN ('paid', 'refunded') THEN 'unknown status'
    WHEN ROW_NUMBER() OVER (PARTITION BY order_id ORDER BY ordered_at, file_row_number) > 1 THEN 'duplicate order_id'
  END AS problem
FROM typed
WHERE order_date IS NULL OR order_date <= getvariable('last');

CREATE TABLE raw.ticket_orders AS
SELECT order_id, concert_id, ordered_at, order_date, quantity::BIGINT AS quantity, unit_price, currency
FROM judged_orders WHERE problem IS NULL AND order_date BETWEEN getvariable('first') AND getvariable('last');

CREATE TABLE raw.ticket_refunds AS
SELECT order_id, concert_id, status_at AS refunded_at, refund_date, quantity::BIGINT AS quantity, unit_price, currency
FROM judged_orders
WHERE problem IS NULL AND status = 'refunded' AND refund_date BETWEEN getvariable('first') AND getvariable('last');

CREATE TEMP TABLE judged_makes AS
SELECT
  sha256('outer' || sha256('inner' || fan_id)) AS fan_hash, artist, city, country, made_at,
  (made_at AT TIME ZONE 'UTC')::DATE AS make_date, file_row_number,
  CASE
    WHEN fan_id IS NULL OR made_at IS NULL OR artist IS NULL OR city IS NULL OR country IS NULL THEN 'missing value'
    WHEN ROW_NUMBER() OVER (PARTITION BY fan_id, artist, country, city, made_at ORDER BY file_row_number) > 1
      THEN 'duplicate make'
  END AS problem
FROM read_parquet(getvariable('source') || '/makes.parquet', file_row_number = true)
WHERE (made_at AT TIME ZONE 'UTC')::DATE <= getvariable('last');

CREATE TABLE raw.makes AS
SELECT fan_hash, artist, city, country, made_at, make_date
FROM judged_makes WHERE problem IS NULL AND make_date BETWEEN getvariable('first') AND getvariable('last');

CREATE TABLE raw.rejected_rows AS
SELECT 'ticket_orders' AS source_table, order_date AS partition_date, problem AS reason, file_row_number AS source_row,
  to_json(judged_orders)::VARCHAR AS row_json
FROM judged_orders WHERE problem IS NOT NULL
UNION ALL
SELECT 'makes', make_date, problem, file_row_number, to_json(judged_makes)::VARCHAR
FROM judged_makes WHERE problem IS NOT NULL;

CREATE TABLE features.concert_sales AS
SELECT
  concert_id, day AS sales_date, SUM(orders) AS orders_count, SUM(sold) AS tickets_sold, SUM(refunded) AS tickets_refunded,
  SUM(sold) - SUM(refunded) AS tickets_net, SUM(revenue) AS gross_revenue, MIN(currency) AS currency
FROM (
  SELECT concert_id, order_date AS day, 1 AS orders, quantity AS sold, 0 AS refunded, quantity * unit_price AS revenue,
    currency
  FROM raw.ticket_orders
  UNION ALL SELECT concert_id, refund_date, 0, 0, quantity, 0, currency FROM raw.ticket_refunds
)
GROUP BY concert_id, day;

CREATE TABLE features.city_demand AS
WITH numbered AS (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY fan_hash, artist, country, city ORDER BY made_at) AS number FROM raw.makes
)
SELECT artist, country, city, make_date AS demand_date, COUNT(*) AS makes_count, COUNT_IF(number = 1) AS new_fans_count
FROM numbered GROUP BY artist, country, city, make_date
