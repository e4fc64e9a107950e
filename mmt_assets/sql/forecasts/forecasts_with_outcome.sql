-- Forecasts of completed concerts at each scored number of days before the show, with what happened.
-- One forecast a concert and origin: the one nearest to those days, within a tenth of them (at least one day).
-- @published is the origin of what stands in published_outlook; concert_outlook holds the others.
WITH said AS (
  SELECT
    origin, as_of_date, concert_id, days_to_show, sold, capacity, final_p10, final_p50, final_p90,
    sell_out_probability, method, champion
  FROM forecasts.published_outlook
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY as_of_date, concert_id ORDER BY run_created_at DESC, computed_at DESC, run_id DESC
  ) = 1
  UNION ALL
  SELECT
    origin, as_of_date, concert_id, days_to_show, sold, capacity, final_p10, final_p50, final_p90,
    sell_out_probability, method, champion
  FROM forecasts.concert_outlook
  WHERE origin != @published
),
tickets AS (
  SELECT concerts.concert_id, SUM(sales.tickets_net) AS net
  FROM staging.concerts AS concerts
  JOIN features.concert_sales AS sales ON sales.concert_id = concerts.concert_id
  WHERE sales.sales_date <= concerts.show_date
  GROUP BY concerts.concert_id
),
scored AS (SELECT days FROM UNNEST([1, 3, 7, 14, 30, 60, 90]) AS days)
SELECT
  said.*,
  scored.days AS scored_days,
  concerts.country,
  concerts.show_date,
  GREATEST(COALESCE(tickets.net, 0), 0) AS actual
FROM said
JOIN staging.concerts AS concerts ON concerts.concert_id = said.concert_id
LEFT JOIN tickets ON tickets.concert_id = said.concert_id
JOIN scored
  ON said.days_to_show >= 1
  AND ABS(said.days_to_show - scored.days) <= GREATEST(CAST(ROUND(0.1 * scored.days) AS INT64), 1)
WHERE concerts.status = 'completed'
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY said.origin, said.concert_id, scored.days
  ORDER BY ABS(said.days_to_show - scored.days), said.as_of_date DESC
) = 1
ORDER BY said.origin, scored.days, concerts.show_date, said.concert_id
