-- Why the forecasts as of @as_of differ from those of the day before, in tickets.
SELECT concert_id, earlier_as_of_date, from_curve, from_demand, from_concert, from_sales, from_refunds
FROM forecasts.outlook_changes
WHERE as_of_date = @as_of
ORDER BY concert_id
