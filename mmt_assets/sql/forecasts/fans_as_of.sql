-- Fans per artist and city as of the end of @as_of.
SELECT artist, country, city, SUM(new_fans_count) AS fans_count
FROM features.city_demand
WHERE demand_date <= @as_of
GROUP BY artist, country, city
ORDER BY artist, country, city
