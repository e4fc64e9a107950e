-- Sales of some concerts up to the end of @until.
SELECT concert_id, sales_date, tickets_sold, tickets_refunded
FROM features.concert_sales
WHERE sales_date <= @until AND concert_id IN UNNEST(@concert_ids)
ORDER BY concert_id, sales_date
