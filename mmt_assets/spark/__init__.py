"""The forecast's chunks on a Spark cluster, for more concerts than one machine can take in time."""
