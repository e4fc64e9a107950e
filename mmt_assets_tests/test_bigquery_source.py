"""A source dataset without places of its rows: each gets one from what it holds."""

from mmt_assets.warehouse import Statement
from mmt_assets_tests.servers.bigquery import BigQueryPlace

MAKES = """CREATE TABLE `{table}` AS
SELECT fan_id, 'Epik High' AS artist, 'Berlin' AS city, 'Germany' AS country, made_at
FROM UNNEST([
  STRUCT('a' AS fan_id, TIMESTAMP '2026-01-02 03:00:00' AS made_at),
  STRUCT('a' AS fan_id, TIMESTAMP '2026-01-02 03:00:00' AS made_at),
  STRUCT('b' AS fan_id, TIMESTAMP '2026-01-03 03:00:00' AS made_at)
])"""


def places(place: BigQueryPlace) -> list[tuple[str, str, int]]:
    source = f"bigquery:{place.project}.{place.source_dataset}"
    with place.warehouse().open(source=source) as session:
        rows = session.query(Statement("SELECT fan_id, source_file, source_row FROM source.makes ORDER BY 1, 3"))
    return list(rows.itertuples(index=False, name=None))


def test_equal_rows_have_places_of_their_own_and_keep_them_when_rows_are_added(bigquery_place: BigQueryPlace) -> None:
    table = f"{bigquery_place.project}.{bigquery_place.source_dataset}.makes"
    client = bigquery_place.server.client()
    client.query_and_wait(MAKES.format(table=table))
    found = places(bigquery_place)
    assert [row[0] for row in found] == ["a", "a", "b"]
    assert {row[1] for row in found} == {table}
    assert len({row[2] for row in found}) == 3
    client.query_and_wait(
        f"INSERT INTO `{table}` VALUES ('0', 'Epik High', 'Berlin', 'Germany', TIMESTAMP '2026-01-01 03:00:00')"
    )
    assert set(found) < set(places(bigquery_place))
