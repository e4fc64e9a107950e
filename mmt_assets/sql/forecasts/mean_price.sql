-- Mean price of a concert's tickets sold up to the end of @as_of, gross of refunds; null without any.
SELECT SUM(gross_revenue) / NULLIF(SUM(tickets_sold), 0) AS mean_price
FROM features.concert_sales
WHERE concert_id = @concert_id AND sales_date <= @as_of
