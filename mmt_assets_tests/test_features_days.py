"""Features: sparse sales per concert and day, demand per artist, country, city and day."""

from typing import TYPE_CHECKING

from mmt_assets.contracts import CITY_DEMAND, CONCERT_SALES, MAKES, REJECTED_ROWS, TICKET_ORDERS, TICKET_REFUNDS

if TYPE_CHECKING:
    from mmt_assets_tests.conftest import Pipeline, PipelineFactory

DEMAND = ("raw/makes", "features/city_demand")
NEW_FANS = "SELECT demand_date, city, makes_count, new_fans_count FROM features.city_demand ORDER BY 1, 2"


def test_sales_are_summed_per_concert_and_day_and_days_without_any_have_no_row(pipeline: "Pipeline") -> None:
    pipeline.put(
        ticket_orders=[
            pipeline.order("a", quantity=2, unit_price="10.25"),
            pipeline.order("b", quantity=3, unit_price="100.0001"),
            pipeline.order("c", "2026-01-05 03:00:00", quantity=1, unit_price=0),
            pipeline.order("d", quantity=4, status="refunded", status_at="2026-01-05 04:00:00"),
        ]
    )
    result = pipeline.load("2026-01-01", "2026-01-06")
    rows = [tuple(str(value) for value in row) for row in pipeline.table(CONCERT_SALES)]
    assert rows == [
        ("c1", "2026-01-02", "3", "9", "0", "9", "520.5003", "EUR"),
        ("c1", "2026-01-05", "1", "1", "4", "-3", "0.0000", "EUR"),
    ]
    # Three days without a row are materialised all the same.
    graph = pipeline.job().asset_layer.asset_graph
    [sales] = [key for key in graph.executable_asset_keys if key.path[-1] == "concert_sales"]
    assert len(pipeline.instance.get_materialized_partitions(sales)) == 6
    assert pipeline.metadata(result, "features/concert_sales")["dagster/row_count"] == 2
    assert [name for name, check in pipeline.checks(result).items() if not check.passed] == []


def test_a_fan_is_new_once_per_artist_country_and_city(pipeline: "Pipeline") -> None:
    make = pipeline.make
    pipeline.put(
        makes=[
            make("a", "2026-01-03 03:00:00"),
            make("a", "2026-01-02 03:00:00"),
            make("a", "2026-01-02 04:00:00"),
            make("b", "2026-01-03 03:00:00"),
            make("a", "2026-01-03 03:00:00", artist="Dean"),
            make("a", city="Birmingham", country="United Kingdom"),
            make("a", city="Birmingham", country="United States"),
        ]
    )
    pipeline.load("2026-01-01", "2026-01-02", assets=DEMAND)
    pipeline.load("2026-01-03", assets=DEMAND)
    counted = pipeline.rows(
        "SELECT demand_date, artist, country, makes_count, new_fans_count FROM features.city_demand"
    )
    assert sorted(counted) == [
        ("2026-01-02", "Epik High", "Germany", 2, 1),
        ("2026-01-02", "Epik High", "United Kingdom", 1, 1),
        ("2026-01-02", "Epik High", "United States", 1, 1),
        ("2026-01-03", "Dean", "Germany", 1, 1),
        ("2026-01-03", "Epik High", "Germany", 2, 1),
    ]


def test_a_late_first_make_takes_the_new_fan_from_the_later_day(pipeline: "Pipeline") -> None:
    pipeline.put(makes=[pipeline.make("a", "2026-01-08 03:00:00")])
    pipeline.load("2026-01-01", "2026-01-09", assets=DEMAND)
    pipeline.put(makes=[pipeline.make("a", "2026-01-08 03:00:00"), pipeline.make("a")])
    result = pipeline.load("2026-01-02", assets=DEMAND)
    assert pipeline.rows(NEW_FANS) == [("2026-01-02", "Berlin", 1, 1), ("2026-01-08", "Berlin", 1, 0)]
    assert pipeline.metadata(result, "features/city_demand")["rows_added"] == 2


def test_city_demand_refuses_to_run_without_the_days_before_and_names_them(pipeline: "Pipeline") -> None:
    pipeline.load("2026-01-03", "2026-01-04", assets=["raw/makes"])
    pipeline.load("2026-01-07", assets=["raw/makes"])
    message = pipeline.failure(pipeline.load("2026-01-08", assets=DEMAND, fails=True))
    assert "raw/makes: not materialised for 2026-01-01 to 2026-01-02, 2026-01-05 to 2026-01-06." in message
    assert "materialise these days first" in message
    pipeline.load("2026-01-01", "2026-01-06", assets=["raw/makes"])
    pipeline.load("2026-01-08", assets=["features/city_demand"])


def test_concert_sales_refuses_days_that_were_never_loaded(pipeline: "Pipeline") -> None:
    pipeline.load("2026-01-02", assets=["raw/concerts", "raw/ticket_orders", "raw/ticket_refunds"])
    message = pipeline.failure(pipeline.load("2026-01-02", "2026-01-03", assets=["features/concert_sales"], fails=True))
    assert "not materialised for 2026-01-03" in message
    pipeline.load("2026-01-02", assets=["features/concert_sales"])


def test_chunks_and_reruns_give_the_same_rows_as_one_run(new_pipeline: "PipelineFactory") -> None:
    def filled() -> "Pipeline":
        pipeline = new_pipeline(last_day="2026-01-08")
        concerts = [pipeline.concert("c1"), pipeline.concert("c2", on_sale_at=None)]
        orders, makes = [], []
        for n in range(48):
            at = f"2026-01-0{n % 8 + 1} {n % 24:02}:30:00"
            refund = {"status": "refunded", "status_at": f"2026-01-0{min(n % 8 + 3, 9)} 23:00:00"} if n % 5 == 0 else {}
            undated = {"status": "refunded"} if n % 7 == 0 else {}
            bad = {"quantity": "?"} if n % 11 == 0 else {"currency": "USD"} if n % 13 == 0 else {}
            values = {"concert_id": f"c{n % 3 + 1}", **refund, **undated, **bad}
            orders.append(pipeline.order(f"o{n % 40}", at, **values))
            makes.append(pipeline.make(f"f{n % 5}", at, city=("Berlin", None, "Seoul")[n % 3]))
        orders.append(pipeline.order("nowhen", None))
        pipeline.put(concerts=concerts, ticket_orders=orders, makes=makes)
        return pipeline

    one, chunks = filled(), filled()
    one.load("2026-01-01", "2026-01-08")
    for first, last in (("2026-01-01", "2026-01-03"), ("2026-01-04", "2026-01-04"), ("2026-01-05", "2026-01-08")):
        chunks.load(first, last)
    tables = (TICKET_ORDERS, TICKET_REFUNDS, MAKES, REJECTED_ROWS, CONCERT_SALES, CITY_DEMAND)
    expected = {contract.name: one.table(contract) for contract in tables}
    assert all(expected.values())
    assert {contract.name: chunks.table(contract) for contract in tables} == expected

    result = one.load("2026-01-03", "2026-01-06")
    assert {contract.name: one.table(contract) for contract in tables} == expected
    for name in (
        "raw/ticket_orders",
        "raw/ticket_refunds",
        "raw/makes",
        "features/concert_sales",
        "features/city_demand",
    ):
        told = one.metadata(result, name)
        assert (told["rows_added"], told["rows_removed"]) == (0, 0), name
