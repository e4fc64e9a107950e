-- Every source order up to @last_day with its values read, and the first thing that is wrong with it.
-- A problem of the order itself is `order_problem`; one of its refund alone leaves the order in place.
WITH typed AS (
  SELECT
    source.order_id,
    source.concert_id,
    SAFE_CAST(source.ordered_at AS TIMESTAMP) AS ordered_at,
    SAFE_CAST(source.quantity AS NUMERIC(18, 4)) AS quantity,
    SAFE_CAST(source.unit_price AS NUMERIC(18, 4)) AS unit_price,
    UPPER(source.currency) AS currency,
    LOWER(source.status) AS status,
    source.status_at IS NOT NULL AS has_status_at,
    SAFE_CAST(source.status_at AS TIMESTAMP) AS status_at,
    source.source_file,
    source.source_row,
    known.concert_id IS NOT NULL AS is_known_concert
  FROM source.ticket_orders AS source
  LEFT JOIN (SELECT DISTINCT concert_id FROM raw.concerts) AS known ON known.concert_id = source.concert_id
),
dated AS (
  SELECT
    *,
    -- Outside this century a time is a typing error, and some engines cannot convert it.
    COALESCE(ordered_at >= TIMESTAMP '2000-01-01' AND ordered_at < TIMESTAMP '2100-01-01', FALSE) AS is_readable,
    COALESCE(status_at >= TIMESTAMP '2000-01-01' AND status_at < TIMESTAMP '2100-01-01', FALSE) AS is_status_readable
  FROM typed
),
days AS (
  SELECT
    * EXCEPT (is_status_readable),
    CASE WHEN is_readable THEN DATE(ordered_at, @timezone) END AS order_date,
    CASE WHEN is_status_readable THEN DATE(status_at, @timezone) END AS status_date
  FROM dated
),
judged AS (
  SELECT
    *,
    CASE
      WHEN order_id IS NULL THEN 'missing order_id'
      WHEN NOT is_readable AND ordered_at IS NULL THEN 'unreadable ordered_at'
      WHEN NOT is_readable THEN 'impossible ordered_at'
      WHEN concert_id IS NULL THEN 'missing concert_id'
      WHEN NOT is_known_concert THEN 'unknown concert'
      WHEN quantity IS NULL OR quantity != TRUNC(quantity) THEN 'unreadable quantity'
      WHEN quantity <= 0 THEN 'quantity is not positive'
      WHEN unit_price IS NULL THEN 'unreadable unit_price'
      WHEN unit_price < 0 THEN 'negative unit_price'
      -- A typing error of this size would not fit into the day's revenue.
      WHEN CAST(quantity AS FLOAT64) * CAST(unit_price AS FLOAT64) >= 1e11 THEN 'impossible order value'
      WHEN currency IS NULL OR currency NOT IN UNNEST(@currencies) THEN 'unknown currency'
      WHEN status IS NULL OR status NOT IN UNNEST(@order_statuses) THEN 'unknown status'
    END AS order_problem
  FROM days
  -- Not with OR: the date would be worked out twice.
  WHERE COALESCE(order_date <= @last_day, TRUE)
),
-- Sorting all orders would take longer than all else here: only those that share an id, or a concert of several
-- currencies, are put in order.
copies AS (
  SELECT
    source_file,
    source_row,
    -- Of good rows with the same id the earliest stays, then the lowest row.
    ROW_NUMBER() OVER (PARTITION BY order_id ORDER BY ordered_at, source_file, source_row) > 1 AS is_repeated
  FROM judged
  WHERE order_problem IS NULL
    AND order_id IN (SELECT order_id FROM source.ticket_orders GROUP BY order_id HAVING COUNT(*) > 1)
),
distinguished AS (
  SELECT judged.*, COALESCE(copies.is_repeated, FALSE) AS is_repeated
  FROM judged
  LEFT JOIN copies ON copies.source_file = judged.source_file AND copies.source_row = judged.source_row
),
concert_currencies AS (
  SELECT
    concert_id,
    currency AS concert_currency,
    ROW_NUMBER() OVER (PARTITION BY concert_id ORDER BY ordered_at, source_file, source_row) AS place
  FROM distinguished
  WHERE order_problem IS NULL AND NOT is_repeated
    AND concert_id IN (
      SELECT concert_id FROM source.ticket_orders GROUP BY concert_id HAVING MIN(UPPER(currency)) != MAX(UPPER(currency))
    )
),
compared AS (
  SELECT distinguished.*, first_one.concert_currency
  FROM distinguished
  LEFT JOIN concert_currencies AS first_one ON first_one.concert_id = distinguished.concert_id AND first_one.place = 1
)
SELECT
  order_id,
  concert_id,
  ordered_at,
  order_date,
  CAST(quantity AS INT64) AS quantity,
  unit_price,
  currency,
  status,
  status_at,
  status_date,
  source_file,
  source_row,
  CASE
    WHEN order_problem IS NOT NULL THEN order_problem
    WHEN is_repeated THEN 'duplicate order_id'
    WHEN currency != concert_currency THEN 'currency differs from the first order of the concert'
  END AS order_problem,
  CASE
    WHEN status != 'refunded' OR NOT has_status_at THEN NULL
    WHEN status_at IS NULL THEN 'unreadable status_at'
    WHEN status_date IS NULL THEN 'impossible status_at'
    WHEN status_at < ordered_at THEN 'refunded before it was ordered'
  END AS refund_problem
FROM compared
