-- Refunds of good orders, each on its own day: the day of status_at, or the day on which it was first seen.
WITH refunds AS (
  SELECT
    orders.order_id,
    orders.concert_id,
    orders.status_at AS refunded_at,
    COALESCE(orders.status_date, undated.first_seen_date) AS refund_date,
    orders.quantity,
    orders.unit_price,
    orders.currency
  FROM staging.orders AS orders
  LEFT JOIN staging.undated_refunds AS undated ON undated.order_id = orders.order_id
  WHERE orders.order_problem IS NULL AND orders.status = 'refunded' AND orders.refund_problem IS NULL
)
SELECT order_id, concert_id, refunded_at, refund_date, quantity, unit_price, currency
FROM refunds
WHERE refund_date BETWEEN @first_day AND @last_day
