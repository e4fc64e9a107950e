-- Cumulative net tickets ahead of concerts that were forecast on demand.
SELECT concert_id, sales_date, cumulative_tickets_p10 AS p10, cumulative_tickets_p50 AS p50, cumulative_tickets_p90 AS p90
FROM forecasts.concert_forecast
WHERE sales_date > as_of_date AND concert_id IN UNNEST(@concert_ids)
ORDER BY concert_id, sales_date
