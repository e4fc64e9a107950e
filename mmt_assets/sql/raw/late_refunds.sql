-- Refunds of other days than the ones being loaded that the raw table does not hold, per day.
WITH incoming AS (
  SELECT orders.order_id, COALESCE(orders.status_date, undated.first_seen_date) AS refund_date
  FROM staging.orders AS orders
  LEFT JOIN staging.undated_refunds AS undated ON undated.order_id = orders.order_id
  WHERE orders.order_problem IS NULL AND orders.status = 'refunded' AND orders.refund_problem IS NULL
)
SELECT incoming.refund_date AS day, COUNT(*) AS late_rows
FROM incoming
LEFT JOIN raw.ticket_refunds AS stored
  ON stored.order_id = incoming.order_id AND stored.refund_date NOT BETWEEN @first_day AND @last_day
WHERE incoming.refund_date NOT BETWEEN @first_day AND @last_day AND stored.order_id IS NULL
GROUP BY incoming.refund_date
