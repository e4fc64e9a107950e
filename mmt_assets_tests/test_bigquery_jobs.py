"""Jobs on BigQuery: what is lost, aborted or too large, and what each is labelled with."""

from datetime import UTC, date, datetime

import pandas as pd
import pytest
from google.cloud.bigquery import QueryJobConfig

from mmt_assets.contracts import CITY_DEMAND
from mmt_assets.warehouse import Fence, ReplaceSlice, Slice, Statement, WarehouseBusyError, WarehouseError
from mmt_assets.warehouse.bigquery import BigQuerySession
from mmt_assets_tests.servers.bigquery import BigQueryPlace

DAY = date(2026, 1, 5)
FENCE = Fence("run", datetime(2026, 1, 6, tzinfo=UTC))


def demand_rows(makes: int, count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "artist": [f"artist {n}" for n in range(count)],
            "country": "KR",
            "city": "Seoul",
            "demand_date": DAY,
            "makes_count": makes,
            "new_fans_count": 0,
        }
    )


def write(session: BigQuerySession, makes: int, count: int = 3) -> tuple[int, int, int]:
    rows = demand_rows(makes, count)
    [result] = session.write([ReplaceSlice(CITY_DEMAND, Slice(DAY, DAY), rows)], fence=FENCE)
    return result.rows, result.added, result.removed


def stored(session: BigQuerySession) -> list[list[int]]:
    counts = "SELECT makes_count, COUNT(*) AS n FROM features.city_demand GROUP BY makes_count"
    return session.query(Statement(counts)).to_numpy().tolist()


@pytest.mark.parametrize("kind", ["conflict", "unavailable", "lost"])
def test_a_transaction_that_is_aborted_or_whose_answer_is_lost_is_carried_out_once(
    bigquery_place: BigQueryPlace, kind: str
) -> None:
    with bigquery_place.warehouse().open() as session:
        assert write(session, 1) == (3, 3, 0)
        bigquery_place.server.fail_next(kind, "COMMIT TRANSACTION")
        assert write(session, 2) == (3, 3, 3)
        assert stored(session) == [[2, 3]]


def test_runs_that_meet_for_too_long_end_as_busy_which_is_retried(bigquery_place: BigQueryPlace) -> None:
    with bigquery_place.warehouse(busy_timeout=0.1).open() as session:
        write(session, 1)
        for _ in range(5):
            bigquery_place.server.fail_next("conflict", f"{bigquery_place.prefix}features.city_demand WHERE")
        with pytest.raises(WarehouseBusyError, match=r"(?s)MMT_BUSY_TIMEOUT_SECONDS.*other.*runs wrote the same table"):
            write(session, 2)


def test_a_statement_that_would_read_too_much_is_refused_before_it_runs(bigquery_place: BigQueryPlace) -> None:
    with bigquery_place.warehouse().open() as session:
        write(session, 1)
    with bigquery_place.warehouse(max_scan_gib=1e-8).open() as session:
        statement = Statement("SELECT * FROM features.city_demand", name="features/big.sql")
        with pytest.raises(WarehouseError, match=r"features/big\.sql would read .*144 bytes.*more than .*10 bytes"):
            session.query(statement)
        assert session.usage.statements == 0


def test_statements_carry_their_labels_and_their_cost_is_summed(bigquery_place: BigQueryPlace) -> None:
    labels = {"run": "6f1c", "asset": "raw__Makes of Söul"}
    with bigquery_place.warehouse().open(labels=labels) as session:
        write(session, 1)
        stored(session)
        usage, session_id = session.usage, session.jobs.session
    assert usage.statements >= 3
    assert usage.bytes_billed > usage.bytes_estimated > 0
    jobs = [job for job in bigquery_place.server.client().list_jobs(max_results=200) if session_id in job.job_id]
    queries = [job for job in jobs if job.job_type == "query"]
    assert queries
    assert all(job.labels == {"run": "6f1c", "asset": "raw__makes-of-s-ul"} for job in queries)


def test_a_table_has_its_contracts_partitions_clusters_and_descriptions(bigquery_place: BigQueryPlace) -> None:
    with bigquery_place.warehouse().open() as session:
        session.ensure(CITY_DEMAND)
        table = session.jobs.client.get_table(session.datasets.reference(CITY_DEMAND))
    assert table.time_partitioning
    assert table.time_partitioning.field == "demand_date"
    assert tuple(table.clustering_fields or ()) == CITY_DEMAND.cluster_by
    assert [(one.name, one.description) for one in table.schema] == [
        (c.name, c.description) for c in CITY_DEMAND.columns
    ]


@pytest.mark.gcp
def test_a_day_is_read_without_the_other_days(bigquery_place: BigQueryPlace) -> None:
    with bigquery_place.warehouse().open() as session:
        for day in (DAY, date(2026, 1, 6)):
            rows = demand_rows(1, 1000).assign(demand_date=day)
            session.write([ReplaceSlice(CITY_DEMAND, Slice(day, day), rows)], fence=FENCE)
        table = session.datasets.reference(CITY_DEMAND)
        one, all_days = (
            session.jobs.client.query(
                f"SELECT artist FROM `{table}` WHERE {condition}", job_config=QueryJobConfig(dry_run=True)
            ).total_bytes_processed
            or 0
            for condition in (f"demand_date = DATE '{DAY}'", "TRUE")
        )
    assert 0 < one < 0.6 * all_days


def test_missing_datasets_are_named_with_what_to_do(bigquery_place: BigQueryPlace) -> None:
    nowhere = BigQueryPlace(bigquery_place.server, "nowhere_").warehouse()
    with pytest.raises(WarehouseError, match=r"nowhere_staging does not exist: terraform apply"), nowhere.open():
        pass
