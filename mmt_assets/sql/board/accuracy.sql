-- The scoreboard's rows over all concerts, the ones to show first.
SELECT
  origin,
  days_to_show,
  model,
  concerts_count,
  first_show_date,
  last_show_date,
  wape,
  bias,
  coverage_80,
  champion,
  champion_share,
  scored_until_date
FROM forecasts.accuracy
WHERE is_headline AND segment_by = 'all'
ORDER BY days_to_show DESC, model
