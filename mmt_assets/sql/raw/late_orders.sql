-- Good source orders of days before the ones being loaded that the raw table does not hold, per day.
SELECT incoming.order_date AS day, COUNT(*) AS late_rows
FROM staging.orders AS incoming
LEFT JOIN raw.ticket_orders AS stored ON stored.order_id = incoming.order_id AND stored.order_date < @first_day
WHERE incoming.order_problem IS NULL AND incoming.order_date < @first_day AND stored.order_id IS NULL
GROUP BY incoming.order_date
