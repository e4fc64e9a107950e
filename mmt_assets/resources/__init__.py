"""What Dagster hands to the assets."""

from mmt_assets.resources.compute import ComputeResource, LocalProcess
from mmt_assets.resources.pubsub import PubSubResource
from mmt_assets.resources.source import SourceResource
from mmt_assets.resources.warehouse import BigQueryDatasets, DuckDBFile, WarehouseResource

__all__ = [
    "BigQueryDatasets",
    "ComputeResource",
    "DuckDBFile",
    "LocalProcess",
    "PubSubResource",
    "SourceResource",
    "WarehouseResource",
]
