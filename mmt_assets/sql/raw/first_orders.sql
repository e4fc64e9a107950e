-- When the first order of each concert was placed.
SELECT concert_id, MIN(ordered_at) AS first_order_at
FROM (SELECT concert_id, SAFE_CAST(ordered_at AS TIMESTAMP) AS ordered_at FROM source.ticket_orders)
WHERE EXTRACT(YEAR FROM ordered_at) BETWEEN 2000 AND 2099
GROUP BY concert_id
