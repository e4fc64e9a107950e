-- Cumulative net tickets ahead of every concert, forecast as of @as_of.
SELECT concert_id, sales_date, cumulative_tickets_p10 AS p10, cumulative_tickets_p50 AS p50, cumulative_tickets_p90 AS p90
FROM forecasts.ticket_sales
WHERE as_of_date = @as_of
ORDER BY concert_id, sales_date
