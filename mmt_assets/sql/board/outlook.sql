-- The newest outlook of each concert at the end of @as_of: the day's own, or a later one made on demand.
WITH outlooks AS (
  SELECT
    concert_id,
    as_of_date,
    artist,
    city,
    country,
    venue,
    status,
    on_sale_date,
    show_date,
    days_to_show,
    gross_sold,
    refunded,
    sold,
    capacity,
    final_p10,
    final_p50,
    final_p90,
    final_gross_p50,
    sell_out_probability,
    sell_out_date,
    pace_tickets,
    pace_pct,
    comparables,
    demand_fans,
    status_flag,
    method,
    method_reason,
    champion,
    origin,
    computed_at,
    run_id,
    run_created_at,
    `commit`,
    lock_hash,
    FALSE AS is_on_demand
  FROM forecasts.concert_outlook
  WHERE as_of_date = @as_of
  UNION ALL
  SELECT
    concert_id,
    as_of_date,
    artist,
    city,
    country,
    venue,
    status,
    on_sale_date,
    show_date,
    days_to_show,
    gross_sold,
    refunded,
    sold,
    capacity,
    final_p10,
    final_p50,
    final_p90,
    final_gross_p50,
    sell_out_probability,
    sell_out_date,
    pace_tickets,
    pace_pct,
    comparables,
    demand_fans,
    status_flag,
    method,
    method_reason,
    champion,
    origin,
    computed_at,
    run_id,
    run_created_at,
    `commit`,
    lock_hash,
    TRUE AS is_on_demand
  FROM forecasts.concert_forecast
  WHERE @with_on_demand AND as_of_date >= @as_of AND sales_date = as_of_date
)
SELECT *
FROM outlooks
QUALIFY ROW_NUMBER() OVER (PARTITION BY concert_id ORDER BY as_of_date DESC, run_created_at DESC, is_on_demand) = 1
ORDER BY concert_id
