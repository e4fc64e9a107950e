-- Makes per place and day up to the end of @as_of.
SELECT artist, country, city, demand_date, makes_count, new_fans_count
FROM features.city_demand
WHERE demand_date <= @as_of
ORDER BY artist, country, city, demand_date
