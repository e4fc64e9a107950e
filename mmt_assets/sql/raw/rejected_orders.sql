-- Bad orders of the slice, and those whose day cannot be read.
SELECT
  'ticket_orders' AS source_table,
  orders.order_date AS partition_date,
  orders.order_problem AS reason,
  orders.source_file,
  orders.source_row,
  TO_JSON_STRING(STRUCT(
    source.order_id AS order_id, source.concert_id AS concert_id, source.ordered_at AS ordered_at,
    source.quantity AS quantity, source.unit_price AS unit_price, source.currency AS currency,
    source.status AS status, source.status_at AS status_at
  )) AS row_json
FROM staging.orders AS orders
JOIN source.ticket_orders AS source
  ON source.source_file = orders.source_file AND source.source_row = orders.source_row
WHERE orders.order_problem IS NOT NULL
  AND (orders.order_date IS NULL OR orders.order_date BETWEEN @first_day AND @last_day)
