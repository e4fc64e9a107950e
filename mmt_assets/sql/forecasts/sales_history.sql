-- Sales up to the end of @as_of.
SELECT concert_id, sales_date, tickets_sold, tickets_refunded
FROM features.concert_sales
WHERE sales_date <= @as_of
ORDER BY concert_id, sales_date
