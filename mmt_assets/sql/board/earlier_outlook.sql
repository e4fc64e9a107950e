-- What was forecast at the end of @as_of.
SELECT concert_id, as_of_date, gross_sold, refunded, sold, capacity, show_date, final_p10, final_p50, final_p90, status_flag
FROM forecasts.concert_outlook
WHERE as_of_date = @as_of
ORDER BY concert_id
