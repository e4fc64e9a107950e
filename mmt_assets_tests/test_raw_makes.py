"""Makes: fan ids are stored only as a keyed hash; what is refused."""

import hashlib
import hmac
from typing import TYPE_CHECKING

import pytest

from mmt_assets.assets.source_values import hmac_pads
from mmt_assets.contracts import MAKES
from mmt_assets.warehouse import DuckDBWarehouse

if TYPE_CHECKING:
    from mmt_assets_tests.conftest import Pipeline, PipelineFactory

ONLY = ("raw/makes",)
HASHES = "SELECT DISTINCT fan_hash FROM raw.makes"


@pytest.mark.parametrize("key", ["k", "x" * 64, "a key of more than sixty-four bytes, which RFC 2104 hashes first, é"])
def test_fan_hashes_are_hmac_sha256(new_pipeline: "PipelineFactory", key: str) -> None:
    pipeline = new_pipeline(fan_hash_key=key)
    pipeline.put(makes=[pipeline.make("fan@example.org"), pipeline.make("other")])
    pipeline.load("2026-01-02", assets=ONLY)
    expected = {hmac.new(key.encode(), fan, hashlib.sha256).hexdigest() for fan in (b"fan@example.org", b"other")}
    assert {row[0] for row in pipeline.rows(HASHES)} == expected


def test_fan_ids_of_any_script_are_hashed(pipeline: "Pipeline") -> None:
    fans = ["팬-1", "Müller", r"a\xAAb", "🎤"]
    pipeline.put(makes=[pipeline.make(fan) for fan in fans])
    pipeline.load("2026-01-02", assets=ONLY)
    key = pipeline.settings.hash_key().encode()
    assert {row[0] for row in pipeline.rows(HASHES)} == {
        hmac.new(key, fan.encode(), hashlib.sha256).hexdigest() for fan in fans
    }


def test_no_table_holds_a_fan_id_or_the_key(pipeline: "Pipeline") -> None:
    fan = "fan-who-must-not-be-found"
    key = pipeline.settings.hash_key()
    rows = [pipeline.make(fan), pipeline.make(fan, "never"), pipeline.make(fan, city=None), pipeline.make(fan)]
    pipeline.put(makes=rows)
    result = pipeline.load("2026-01-01", "2026-01-03")
    assert len(pipeline.rejected()) == 3
    with DuckDBWarehouse(pipeline.settings.warehouse_path).open() as session:
        tables = session.connection.execute("SELECT schema_name || '.' || table_name FROM duckdb_tables()").fetchall()
        found = {name: str(session.connection.table(name).fetchall()) for (name,) in tables}
    assert {"raw.makes", "raw.rejected_rows", "features.city_demand"} <= found.keys()
    for secret in (fan, key, *(pad.hex() for pad in hmac_pads(key))):
        assert [name for name, rows in found.items() if secret in rows] == []
        assert secret.encode() not in pipeline.settings.warehouse_path.read_bytes()
        assert secret not in "".join(str(event) for event in result.all_events)


def test_every_reason_to_refuse_a_make_is_named(pipeline: "Pipeline") -> None:
    make = pipeline.make
    bad = [
        (make(None), "2026-01-02", "missing fan_id"),
        (make("b1", "?"), None, "unreadable made_at"),
        (make("b2", None), None, "unreadable made_at"),
        (make("b3", "1026-01-02"), None, "impossible made_at"),
        (make("b4", artist=None), "2026-01-02", "missing artist"),
        (make("b5", city="  "), "2026-01-02", "missing city"),
        (make("b6", country=None), "2026-01-02", "missing country"),
        (make("fan-1"), "2026-01-02", "duplicate make"),
    ]
    pipeline.put(makes=[make("fan-1")] + [row for row, _, _ in bad])
    for _ in range(2):
        pipeline.load("2026-01-01", "2026-01-03", assets=ONLY)
        refused = sorted((row, day, reason) for _, day, reason, row in pipeline.rejected())
        assert refused == [(row, day, reason) for row, (_, day, reason) in enumerate(bad, start=1)]
    assert len(pipeline.table(MAKES)) == 1


def test_a_source_without_makes_has_none(pipeline: "Pipeline") -> None:
    pipeline.put(makes=None)
    result = pipeline.load("2026-01-01", "2026-01-02", assets=(*ONLY, "features/city_demand"))
    assert pipeline.table(MAKES) == []
    assert pipeline.metadata(result, "raw/makes")["source_files"] == 0
