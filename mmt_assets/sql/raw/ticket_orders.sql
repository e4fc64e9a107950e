-- Good orders of the slice.
SELECT order_id, concert_id, ordered_at, order_date, quantity, unit_price, currency
FROM staging.orders
WHERE order_problem IS NULL AND order_date BETWEEN @first_day AND @last_day
