-- Refunds without a time. In the first load ever they hold from the order's day, later from the last complete day:
-- loading an old day again must not tell that day of a refund that nobody knew of.
SELECT
  order_id,
  CASE WHEN @is_first_load OR order_date > @seen_date THEN order_date ELSE @seen_date END AS first_seen_date
FROM staging.orders
WHERE order_problem IS NULL
  AND status = 'refunded'
  AND status_at IS NULL
  AND refund_problem IS NULL
