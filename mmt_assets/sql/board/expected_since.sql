-- Net tickets that the forecasts as of @as_of expected in the days after it, day by day until @until.
SELECT concert_id, sales_date, tickets_p50
FROM forecasts.ticket_sales
WHERE as_of_date = @as_of AND sales_date <= @until
ORDER BY concert_id, sales_date
