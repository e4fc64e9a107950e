-- Refunds without a time. In the first load ever they hold from the order's day, later from the day being loaded.
SELECT
  order_id,
  CASE WHEN @is_first_load OR order_date > @last_day THEN order_date ELSE @last_day END AS first_seen_date
FROM staging.orders
WHERE order_problem IS NULL
  AND status = 'refunded'
  AND status_at IS NULL
  AND refund_problem IS NULL
  AND (@is_first_load OR order_date <= @last_day)
