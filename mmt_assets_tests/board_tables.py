"""Tables of a small world in which every status occurs, written straight into a warehouse: nothing is forecast."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmt_assets.board import About, Board, BoardFrames, build_board, read_board, render_board
from mmt_assets.contracts import (
    ACCURACY,
    CITY_DEMAND,
    CITY_DEMAND_FORECAST,
    CONCERT_FORECAST,
    CONCERT_OUTLOOK,
    CONCERT_SALES,
    CONCERTS,
    REJECTED_ROWS,
    TICKET_ORDERS,
    TICKET_SALES,
    TableContract,
)
from mmt_assets.warehouse import DuckDBWarehouse, Fence, ReplaceSlice, Slice

AS_OF = date(2026, 3, 10)
BEFORE = AS_OF - timedelta(days=1)
COMPUTED_AT = datetime(2026, 3, 10, 21, 30, tzinfo=UTC)
TABLES = (
    CONCERTS,
    TICKET_ORDERS,
    REJECTED_ROWS,
    CONCERT_SALES,
    CITY_DEMAND,
    CONCERT_OUTLOOK,
    TICKET_SALES,
    CONCERT_FORECAST,
    CITY_DEMAND_FORECAST,
)
_DEFAULTS: dict[str, Any] = {
    "STRING": "x",
    "INT64": 1,
    "FLOAT64": 0.0,
    "NUMERIC": 1,
    "BOOL": False,
    "DATE": AS_OF,
    "TIMESTAMP": COMPUTED_AT,
}
Row = dict[str, Any]


def row(contract: TableContract, **values: Any) -> Row:
    """A row of a table; what is not given is null where it may be, else a plain value."""
    assert not values.keys() - contract.columns_by_name.keys()
    defaults = {
        column.name: None if not column.required else column.allowed[0] if column.allowed else _DEFAULTS[column.type]
        for column in contract.columns
    }
    return {**defaults, **values}


class BoardTables:
    """A warehouse whose tables a test fills.

    Attributes:
        warehouse: The warehouse.
        rows: Rows by table, written by `write`.
    """

    def __init__(self, path: Path) -> None:
        self.warehouse = DuckDBWarehouse(path)
        self.rows: dict[TableContract, list[Row]] = {contract: [] for contract in TABLES}
        self._runs = count(1)

    def add(self, contract: TableContract, **values: Any) -> None:
        """Add a row, see `row`."""
        self.rows.setdefault(contract, []).append(row(contract, **values))

    def add_concert(self, concert_id: str, flag: str = "on_track", **values: Any) -> None:
        """Add a concert that sells `per_day` tickets a day since its on-sale, and what is forecast of it.

        Args:
            concert_id: Concert.
            flag: Status flag; "cancelled" and "completed" concerts have no outlook.
            **values: Columns of the outlook, and: `per_day`; `sold_until`, the last day of sale; `before`, columns
                of the outlook of the day before, or None for a concert that had none.
        """
        per_day, until = values.pop("per_day", 10), values.pop("sold_until", AS_OF)
        before: Row | None = values.pop("before", {})
        facts = {
            "artist": f"Artist {concert_id}",
            "city": "Berlin",
            "country": "DE",
            "venue": "Columbiahalle",
            "capacity": 1000,
            "on_sale_date": AS_OF - timedelta(days=39),
            "show_date": AS_OF + timedelta(days=30),
        }
        facts |= {name: values.pop(name) for name in facts if name in values}
        begin = facts["on_sale_date"]
        days = [begin + timedelta(days=k) for k in range((min(until, facts["show_date"]) - begin).days + 1)]
        for day in days if per_day else []:
            self.add(
                CONCERT_SALES,
                concert_id=concert_id,
                sales_date=day,
                orders_count=per_day,
                tickets_sold=per_day,
                tickets_refunded=0,
                tickets_net=per_day,
                currency="EUR",
            )
        self._add_version(concert_id, flag, facts)
        if flag in ("cancelled", "completed"):
            return
        sold = per_day * len(days)
        outlook = {**facts, "sold": sold, "gross_sold": sold, "refunded": 0, "status": "on_sale", "status_flag": flag}
        outlook |= {"final_p10": sold + 50.0, "final_p50": sold + 100.0, "final_p90": sold + 150.0}
        outlook |= {"sell_out_probability": 0.1, "pace_tickets": 5.0, "pace_pct": 1.3, "method": "blend"}
        outlook |= {"method_reason": "prior 100%", "origin": "live", "run_id": "run-of-the-day", **values}
        if before is not None:
            earlier = {**outlook, "sold": sold - per_day, "gross_sold": sold - per_day, **before}
            self._add_outlook(concert_id, BEFORE, earlier)
        self._add_outlook(concert_id, AS_OF, outlook)

    def _add_version(self, concert_id: str, flag: str, facts: Row) -> None:
        known = {name: facts[name] for name in ("artist", "city", "country", "venue", "capacity", "show_date")}
        self.add(
            CONCERTS,
            concert_id=concert_id,
            known_from_date=date(2026, 1, 1),
            on_sale_at=datetime.combine(facts["on_sale_date"], datetime.min.time(), UTC),
            show_at=datetime.combine(facts["show_date"], datetime.min.time(), UTC),
            status="cancelled" if flag == "cancelled" else "on_sale",
            status_at=COMPUTED_AT - timedelta(days=2) if flag == "cancelled" else None,
            **known,
        )

    def _add_outlook(self, concert_id: str, as_of: date, outlook: Row) -> None:
        days = (outlook["show_date"] - as_of).days
        self.add(CONCERT_OUTLOOK, concert_id=concert_id, as_of_date=as_of, days_to_show=days, **outlook)
        for ahead in range(1, days + 1):
            path = {
                f"cumulative_tickets_{level}": outlook["sold"]
                + (outlook[f"final_{level}"] - outlook["sold"]) * ahead / days
                for level in ("p10", "p50", "p90")
            }
            daily = (outlook["final_p50"] - outlook["sold"]) / days
            self.add(
                TICKET_SALES,
                concert_id=concert_id,
                as_of_date=as_of,
                sales_date=as_of + timedelta(days=ahead),
                tickets_p50=daily,
                **path,
            )

    def write(self) -> None:
        """Write all tables as they stand."""
        fence = Fence(f"run{next(self._runs)}", datetime.now(UTC))
        frames = {
            contract: pd.DataFrame(rows, columns=list(contract.column_names)) for contract, rows in self.rows.items()
        }
        with self.warehouse.open() as session:
            session.write([ReplaceSlice(contract, Slice(), frame) for contract, frame in frames.items()], fence=fence)

    def read(self, until: date = AS_OF, **options: Any) -> BoardFrames:
        """What the board reads."""
        with self.warehouse.open() as session:
            return read_board(session, until=until, timezone="UTC", **options)

    def board(self, until: date = AS_OF, **options: Any) -> Board:
        """The board that the tables give."""
        self.write()
        return build_board(self.read(until, **options))


def page_of(board: Board, **about: Any) -> str:
    """The page of a board."""
    return render_board(board, About(**{"generated_at": COMPUTED_AT, "timezone": "UTC", **about}))


def every_status(tables: BoardTables) -> None:
    """Fill the tables with one concert of each status, their comparables, fans and a scoreboard."""
    add, ids = tables.add_concert, "done-1, done-2"
    for number in (1, 2):
        on_sale, show = AS_OF - timedelta(days=100), AS_OF - timedelta(days=10 * number)
        add(f"done-{number}", "completed", on_sale_date=on_sale, show_date=show, sold_until=show, per_day=5 * number)
    add("ok", "on_track", comparables=ids, pace_tickets=-3.0, pace_pct=-0.7, champion="shrinkage", demand_fans=321)
    add(
        "low", "behind", pace_tickets=-120.4, pace_pct=-23.1, artist="Zeta", city="Seoul", country="KR", comparables=ids
    )
    add("lower", "behind", pace_tickets=-340.0, pace_pct=-46.0, show_date=AS_OF + timedelta(days=60))
    add("high", "ahead", pace_tickets=80.0, pace_pct=25.0, city="Paris", country="FR")
    add("still", "stalled", sold_until=AS_OF - timedelta(days=16), sell_out_probability=0.0)
    add("full", "sold_out", capacity=400, sell_out_probability=1.0, sell_out_date=AS_OF, final_p10=400.0,
        final_p50=400.0, final_p90=400.0)  # fmt: skip
    add("soon", "likely_sell_out", sell_out_probability=0.72, sell_out_date=date(2026, 4, 1), capacity=500)
    add("fresh", "new", on_sale_date=BEFORE, before=None, pace_tickets=None, pace_pct=None)
    add("alone", "no_comparables", pace_tickets=12.0, pace_pct=None, capacity=None, sell_out_probability=None)
    add("later", "not_on_sale", on_sale_date=AS_OF + timedelta(days=5), status="announced", per_day=0)
    add("moved", "on_track", final_p10=650.0, final_p50=700.0, final_p90=750.0,
        before={"final_p10": 450.0, "final_p50": 500.0, "final_p90": 550.0})  # fmt: skip
    add("gone", "cancelled", sold_until=AS_OF - timedelta(days=2))
    for artist, city, country, fans in (
        ("Zeta", "Seoul", "KR", 900),
        ("Zeta", "Oslo", "NO", 400),
        ("Mu", "Oslo", "NO", 7),
    ):
        place = {"artist": artist, "city": city, "country": country}
        tables.add(CITY_DEMAND, **place, demand_date=date(2026, 1, 5), makes_count=fans, new_fans_count=fans - 5)
        tables.add(CITY_DEMAND, **place, demand_date=AS_OF, makes_count=5, new_fans_count=5)
        tables.add(CITY_DEMAND_FORECAST, **place, days_ahead=84, fans_p50=fans * 1.5, as_of_date=AS_OF)
    ordered_at = datetime(2026, 3, 10, 20, 15, tzinfo=UTC)
    tables.add(TICKET_ORDERS, order_id="o1", concert_id="ok", ordered_at=ordered_at, order_date=AS_OF)
    tables.add(REJECTED_ROWS, source_table="makes", partition_date=AS_OF, reason="no fan_id")


def add_scores(tables: BoardTables, scores: Sequence[tuple[int, float, float]], origin: str = "backfill") -> None:
    """Add the scoreboard's headline: days before the show, error of the published forecast and of pick-up."""
    for days, error, yardstick in scores:
        shared = {"days_to_show": days, "origin": origin, "segment_by": "all", "segment": "all", "is_headline": True}
        tables.add(ACCURACY, **shared, model="published", wape=error, bias=-0.031, coverage_80=0.78,
                   concerts_count=41, champion="boosted_trees", champion_share=0.6)  # fmt: skip
        tables.add(ACCURACY, **shared, model="additive_pickup", wape=yardstick, concerts_count=41)


BoardTablesFactory = Callable[[], BoardTables]


@pytest.fixture
def board_tables(tmp_path: Path) -> BoardTables:
    """An empty warehouse for a board."""
    return BoardTables(tmp_path / "board.duckdb")
