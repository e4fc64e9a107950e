-- Bad orders of the slice, and those whose day cannot be read.
SELECT
  'ticket_orders' AS source_table,
  order_date AS partition_date,
  order_problem AS reason,
  source_file,
  source_row,
  row_json
FROM staging.orders
WHERE order_problem IS NOT NULL AND (order_date IS NULL OR order_date BETWEEN @first_day AND @last_day)
