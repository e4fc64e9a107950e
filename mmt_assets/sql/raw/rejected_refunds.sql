-- Refunds whose time is wrong: the order stays, the refund is refused on the order's day.
SELECT
  'ticket_refunds' AS source_table,
  order_date AS partition_date,
  refund_problem AS reason,
  source_file,
  source_row,
  row_json
FROM staging.orders
WHERE order_problem IS NULL AND refund_problem IS NOT NULL AND order_date BETWEEN @first_day AND @last_day
