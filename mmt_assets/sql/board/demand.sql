-- Fans per place at the end of @as_of, and those among them who asked first after @recent_after.
SELECT
  artist,
  country,
  city,
  SUM(new_fans_count) AS fans,
  SUM(CASE WHEN demand_date > @recent_after THEN new_fans_count ELSE 0 END) AS recent_fans
FROM features.city_demand
WHERE demand_date <= @as_of
GROUP BY artist, country, city
ORDER BY artist, country, city
