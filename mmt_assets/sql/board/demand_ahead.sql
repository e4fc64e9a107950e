-- Fans expected per place @days_ahead days after @as_of.
SELECT artist, country, city, fans_p50 AS fans_ahead
FROM forecasts.city_demand_forecast
WHERE as_of_date = @as_of AND days_ahead = @days_ahead
ORDER BY artist, country, city
