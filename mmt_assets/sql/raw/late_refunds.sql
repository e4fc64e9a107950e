-- Refunds of days before the ones being loaded that the raw table does not hold, per day.
SELECT incoming.status_date AS day, COUNT(*) AS late_rows
FROM staging.orders AS incoming
LEFT JOIN raw.ticket_refunds AS stored ON stored.order_id = incoming.order_id
WHERE incoming.order_problem IS NULL
  AND incoming.status = 'refunded'
  AND incoming.refund_problem IS NULL
  AND incoming.status_date < @first_day
  AND stored.order_id IS NULL
GROUP BY incoming.status_date
