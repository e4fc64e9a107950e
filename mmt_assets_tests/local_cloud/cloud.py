"""The servers that stand for Google Cloud, together, and the settings that lead there."""

import io
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd
from google.cloud import bigquery

from mmt_assets import sample
from mmt_assets_tests.servers.bigquery import EMULATED_PROJECT, STAGES, running_bigquery
from mmt_assets_tests.servers.compute_engine.fixture import ZONES, ComputeEngineServer, running_server
from mmt_assets_tests.servers.compute_engine.image import build_image
from mmt_assets_tests.servers.gcs import running_gcs
from mmt_assets_tests.servers.pubsub import PubSubEmulator, emulator_jar

# The dataset of the ticket platform.
_SOURCE = "platform"
_PIPES_BUCKET = "mmt-local-pipes"
# About what an e2-standard-8 costs in Seoul, and what it costs as a Spot machine.
_PRICE, _SPOT_PRICE = "0.0000957", "0.0000287"


@dataclass(frozen=True)
class LocalCloud:
    """Google Cloud on this machine.

    Attributes:
        compute: Compute Engine.
        pubsub: Address of the Pub/Sub emulator; None where it is not installed.
        settings: What leads the code location here, as variables.
        environment: Variables of Google's own clients, for what takes Cloud Storage from them.
    """

    compute: ComputeEngineServer
    pubsub: str | None
    settings: dict[str, str]
    environment: dict[str, str]


@contextmanager
def running_cloud(folder: Path, first: date, last: date) -> Iterator[LocalCloud]:
    """BigQuery, Cloud Storage, Compute Engine and, where it is installed, Pub/Sub; all end with this context.

    Args:
        folder: For logs, disks of machines and source files.
        first: First day of the sample world that lies in BigQuery's source dataset.
        last: Its last day.
    """
    with ExitStack() as stack:
        server = stack.enter_context(running_bigquery())
        _fill(server.client(), folder / "bookings", first, last)
        gcs = stack.enter_context(running_gcs(folder))
        for bucket in (_PIPES_BUCKET, f"{EMULATED_PROJECT}-mmt-logs"):
            gcs.bucket(bucket)
        (folder / "compute-engine").mkdir()
        endpoint = stack.enter_context(running_server(folder / "compute-engine"))
        compute = ComputeEngineServer(endpoint, EMULATED_PROJECT, build_image(folder / "image"))
        # A machine of Google's takes half a minute from the request to its startup script.
        compute.set_pace(boot_seconds=3, operation_seconds=0.5, stop_seconds=1)
        compute.guest_environment(OMP_NUM_THREADS="1")
        pubsub = _start_pubsub(stack, folder)
        if pubsub:
            compute.guest_environment(PUBSUB_EMULATOR_HOST=pubsub)
        yield LocalCloud(
            compute,
            pubsub,
            {
                "MMT_ENV": "gcp",
                "MMT_PROJECT": EMULATED_PROJECT,
                "MMT_SOURCE": f"bigquery:{EMULATED_PROJECT}.{_SOURCE}",
                "MMT_FIRST_DAY": first.isoformat(),
                "MMT_LAST_DAY": last.isoformat(),
                "MMT_BIGQUERY_ENDPOINT": str(server.endpoint),
                "MMT_BIGQUERY_STORAGE_ENDPOINT": str(server.storage_endpoint),
                "MMT_STORAGE_ENDPOINT": gcs.endpoint,
                "MMT_PIPES_BUCKET": _PIPES_BUCKET,
                "MMT_COMPUTE_ENDPOINT": endpoint,
                "MMT_ZONES": ",".join(ZONES),
                "MMT_VM_TEMPLATE": compute.add_template(),
                "MMT_VM_PRICE_PER_SECOND": _PRICE,
                "MMT_VM_SPOT_PRICE_PER_SECOND": _SPOT_PRICE,
                "MMT_VM_REAPER_SECONDS": "5",
                "MMT_GIT_URL": compute.git_url,
                "MMT_GIT_REF": compute.git_ref,
                "MMT_FAN_HASH_KEY": "a-key-for-simulated-fans",
                **({"MMT_PUBSUB_EMULATOR": pubsub} if pubsub else {}),
            },
            gcs.environment,
        )


def _start_pubsub(stack: ExitStack, folder: Path) -> str | None:
    jar = emulator_jar()
    if jar is None:
        return None
    emulator = PubSubEmulator(jar, folder)
    stack.callback(emulator.kill)
    emulator.start()
    return emulator.address


def _fill(client: bigquery.Client, files: Path, first: date, last: date) -> None:
    """Datasets as infra/warehouse.tf makes them, and the sample world as the platform's own export."""
    for dataset in (*STAGES, _SOURCE):
        client.create_dataset(f"{EMULATED_PROJECT}.{dataset}")
    sample.write_source(files, first_day=first, last_day=last)
    for name in ("concerts", "ticket_orders", "makes"):
        # As text: what cannot be read becomes a rejected row, whatever the platform stores it as.
        rows = pd.read_parquet(files / name)
        texts = rows.apply(lambda column: column.map(str, na_action="ignore")).astype("string")
        schema = [bigquery.SchemaField(str(column), "STRING") for column in texts]
        made = client.create_table(bigquery.Table(f"{EMULATED_PROJECT}.{_SOURCE}.{name}", schema))
        parquet = io.BytesIO()
        texts.to_parquet(parquet)
        parquet.seek(0)
        options = bigquery.LoadJobConfig(source_format=bigquery.SourceFormat.PARQUET, schema=schema)
        client.load_table_from_file(parquet, made, job_config=options).result()
    shutil.rmtree(files)
