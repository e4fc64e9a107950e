"""A Spark session for the forecast."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOCAL_MASTER_PREFIX = "local"


@contextmanager
def spark_session(master: str) -> Iterator["SparkSession"]:
    """Open a session and stop it at the end.

    Args:
        master: Spark's master, such as `local-cluster[2,1,2048]` (executors, cores, MiB each) on one machine, or
            `yarn` on a Dataproc cluster, whose `spark-submit` has set everything else. Executors run the Python that
            the variable PYSPARK_PYTHON names.
    """
    # Not needed anywhere else, and on a cluster it is the cluster's own.
    from pyspark.sql import SparkSession  # noqa: PLC0415

    builder = SparkSession.builder.appName("mmt_assets forecast").master(master)
    settings = {
        # One row is a chunk of concerts: more of them in one Arrow batch would only take memory.
        "spark.sql.execution.arrow.maxRecordsPerBatch": "1",
        "spark.executorEnv.OMP_NUM_THREADS": "1",
    }
    if master.startswith(LOCAL_MASTER_PREFIX):
        settings |= {
            # Java's share of the driver; its default of 1 GiB is too little for tens of thousands of concerts.
            "spark.driver.memory": "4g",
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
        }
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    try:
        yield session
    finally:
        session.stop()
