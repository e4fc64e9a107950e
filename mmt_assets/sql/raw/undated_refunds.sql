-- Refunds without a time: those recorded earlier, and those seen for the first time now.
SELECT order_id, first_seen_date FROM raw.undated_refunds
UNION ALL
SELECT order_id, first_seen_date
FROM staging.newly_seen
WHERE order_id NOT IN (SELECT order_id FROM raw.undated_refunds)
