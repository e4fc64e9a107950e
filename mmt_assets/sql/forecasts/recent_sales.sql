-- Tickets sold per concert and day from @first_day to the end of @as_of.
SELECT concert_id, sales_date, tickets_sold
FROM features.concert_sales
WHERE sales_date BETWEEN @first_day AND @as_of
