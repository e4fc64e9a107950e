-- Sales per concert and business day, from orders placed and refunds made that day.
WITH movements AS (
  SELECT
    concert_id,
    order_date AS sales_date,
    1 AS orders_count,
    quantity AS tickets_sold,
    0 AS tickets_refunded,
    quantity * unit_price AS gross_revenue,
    currency
  FROM raw.ticket_orders
  WHERE order_date BETWEEN @first_day AND @last_day
  UNION ALL
  SELECT concert_id, refund_date, 0, 0, quantity, 0, currency
  FROM raw.ticket_refunds
  WHERE refund_date BETWEEN @first_day AND @last_day
)
SELECT
  concert_id,
  sales_date,
  SUM(orders_count) AS orders_count,
  SUM(tickets_sold) AS tickets_sold,
  SUM(tickets_refunded) AS tickets_refunded,
  SUM(tickets_sold) - SUM(tickets_refunded) AS tickets_net,
  SUM(gross_revenue) AS gross_revenue,
  MIN(currency) AS currency
FROM movements
GROUP BY concert_id, sales_date
