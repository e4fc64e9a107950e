-- Tickets of all concerts together, per day from @first_day to @as_of.
SELECT sales_date, SUM(orders_count) AS orders_count, SUM(tickets_sold) AS tickets_sold, SUM(tickets_refunded) AS tickets_refunded
FROM features.concert_sales
WHERE sales_date BETWEEN @first_day AND @as_of
GROUP BY sales_date
ORDER BY sales_date
