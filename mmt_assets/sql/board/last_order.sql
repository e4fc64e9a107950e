-- When the last order up to the end of @as_of was placed (UTC), looked for from @first_day on.
SELECT MAX(ordered_at) AS ordered_at
FROM raw.ticket_orders
WHERE order_date BETWEEN @first_day AND @as_of
