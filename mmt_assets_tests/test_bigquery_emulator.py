"""The emulator answers as the warehouse needs it: a test that fails here says nothing about our code."""

import pytest
from google.api_core.exceptions import BadRequest, Conflict
from google.cloud import bigquery

from mmt_assets_tests.servers.bigquery import BigQueryPlace


def test_a_script_binds_parameters_and_is_undone_when_it_raises(bigquery_place: BigQueryPlace) -> None:
    client, table = bigquery_place.server.client(), f"{bigquery_place.prefix}raw.t"
    client.query(f"CREATE TABLE {table} AS SELECT 'kept' AS name").result()
    given = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter("name", "STRING", "it's; --")])
    script = f"""
    BEGIN TRANSACTION;
    DELETE FROM {table} WHERE TRUE;
    INSERT INTO {table} (name) SELECT @name;
    IF EXISTS (SELECT 1 FROM {table} WHERE name = @name) THEN RAISE USING MESSAGE = 'refused'; END IF;
    COMMIT TRANSACTION;
    """
    with pytest.raises(BadRequest, match="refused"):
        client.query(script, job_config=given).result()
    assert [row["name"] for row in client.query(f"SELECT name FROM {table}").result()] == ["kept"]


def test_a_job_id_is_used_once(bigquery_place: BigQueryPlace) -> None:
    client = bigquery_place.server.client()
    job_id = f"{bigquery_place.prefix}once"
    client.query("SELECT 1", job_id=job_id, job_retry=None).result()
    with pytest.raises(Conflict):
        client.query("SELECT 2", job_id=job_id, job_retry=None)
