-- Source rows of the day @as_of that were not taken, by reason.
SELECT source_table, reason, COUNT(*) AS rejected_count
FROM raw.rejected_rows
WHERE partition_date = @as_of
GROUP BY source_table, reason
ORDER BY source_table, reason
