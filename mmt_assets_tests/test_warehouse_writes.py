"""What each kind of write does to each kind of warehouse, and what it refuses."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from mmt_assets.contracts import Column, TableContract
from mmt_assets.warehouse import (
    ContractError,
    Fence,
    InsertMissing,
    ReplaceNewer,
    ReplaceSlice,
    SchemaDriftError,
    Session,
    Slice,
    StaleWriteError,
    Statement,
    Warehouse,
    WarehouseError,
    Write,
)

SALES = TableContract(
    schema="features",
    name="sales",
    description="Sales",
    columns=(
        Column("concert_id", "STRING", "Concert"),
        Column("day", "DATE", "Day", required=False),
        Column("tickets", "INT64", "Tickets", required=False, minimum=0),
        Column("revenue", "NUMERIC", "Revenue", required=False),
        Column("share", "FLOAT64", "Share", required=False),
        Column("sold_out", "BOOL", "Sold out", required=False),
        Column("updated_at", "TIMESTAMP", "Updated", required=False),
        Column("status", "STRING", "Status", required=False, allowed=("on_sale", "completed")),
    ),
    key=("concert_id", "day"),
    partition_column="day",
)
MONDAY, TUESDAY, WEDNESDAY = (date(2026, 1, 5) + timedelta(days=n) for n in range(3))
OLD = Fence("old-run", datetime(2026, 1, 6, tzinfo=UTC))
EVERYTHING = Statement("SELECT * FROM features.sales")
NEW = Fence("new-run", datetime(2026, 1, 7, tzinfo=UTC))


@pytest.fixture
def session(warehouse: Warehouse) -> Iterator[Session]:
    with warehouse.open() as opened:
        yield opened


def sales(*rows: tuple[str, object, object], **columns: object) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["concert_id", "day", "tickets"])
    for name, value in columns.items():
        frame[name] = pd.Series([value] * len(rows))
    return frame.reindex(columns=list(SALES.column_names))


def write(session: Session, *writes: Write, fence: Fence = OLD) -> list[tuple[int, int, int]]:
    return [(r.rows, r.added, r.removed) for r in session.write(writes, fence=fence)]


def day(first: date, last: date | None = None, group: str | None = None) -> Slice:
    return Slice(first, last or first, group=("concert_id", group) if group else None)


def stored(session: Session) -> list[tuple[object, ...]]:
    frame = session.query(Statement("SELECT concert_id, CAST(day AS STRING) AS day, tickets FROM features.sales"))
    return sorted(frame.itertuples(index=False, name=None))


def test_a_slice_is_replaced_and_the_rest_stays(session: Session) -> None:
    week = sales(("a", MONDAY, 1), ("b", MONDAY, 2), ("a", TUESDAY, 3))
    assert write(session, ReplaceSlice(SALES, Slice(), week)) == [(3, 3, 0)]
    monday = sales(("a", MONDAY, 1), ("c", MONDAY, 9))
    assert write(session, ReplaceSlice(SALES, day(MONDAY), monday)) == [(2, 1, 1)]
    assert stored(session) == [("a", "2026-01-05", 1), ("a", "2026-01-06", 3), ("c", "2026-01-05", 9)]


def test_writing_the_same_slice_twice_leaves_the_same_rows(session: Session) -> None:
    rows = sales(("a", MONDAY, None), ("b", MONDAY, 2), share=0.5, revenue=Decimal("1.2345"))
    write(session, ReplaceSlice(SALES, day(MONDAY), rows))
    before = stored(session)
    assert write(session, ReplaceSlice(SALES, day(MONDAY), rows)) == [(2, 0, 0)]
    assert repr(stored(session)) == repr(before)


def test_an_empty_frame_empties_the_slice_and_nothing_else(session: Session) -> None:
    write(session, ReplaceSlice(SALES, Slice(), sales(("a", MONDAY, 1), ("a", TUESDAY, 2))))
    assert write(session, ReplaceSlice(SALES, day(MONDAY), sales())) == [(0, 0, 1)]
    assert stored(session) == [("a", "2026-01-06", 2)]


def test_undated_rows_belong_to_a_slice_only_when_asked(session: Session) -> None:
    write(session, ReplaceSlice(SALES, Slice(), sales(("a", None, 1), ("a", MONDAY, 1))))
    write(session, ReplaceSlice(SALES, day(MONDAY), sales()))
    assert len(stored(session)) == 1
    write(session, ReplaceSlice(SALES, Slice(MONDAY, MONDAY, undated=True), sales()))
    assert stored(session) == []


def test_pandas_ways_of_saying_missing_all_become_null(session: Session) -> None:
    rows = sales(*((name, MONDAY, 0) for name in "abc"))
    rows["tickets"] = pd.Series([np.nan, None, 3.0], dtype=object)
    rows["revenue"] = pd.Series([Decimal("1.5"), np.nan, None], dtype=object)
    rows["share"] = pd.array([0.5, None, None], dtype="Float64")
    rows["sold_out"] = pd.array([True, None, None], dtype="boolean")
    rows["updated_at"] = [pd.Timestamp("2026-01-05 09:00", tz="Asia/Seoul"), pd.NaT, None]
    rows["status"] = pd.Categorical(["on_sale", None, None])
    rows["day"] = pd.to_datetime(rows["day"])
    write(session, ReplaceSlice(SALES, day(MONDAY), rows))
    sql = "SELECT * EXCEPT (day, updated_at), CAST(updated_at AS STRING) AS at FROM features.sales ORDER BY concert_id"
    found = [tuple(row.values()) for row in session.query_arrow(Statement(sql)).to_pylist()]
    assert found == [
        ("a", None, Decimal("1.5000"), 0.5, True, "on_sale", "2026-01-05 00:00:00+00"),
        ("b", None, None, None, None, None, None),
        ("c", 3, None, None, None, None, None),
    ]


@pytest.mark.parametrize("dtype", [object, float])
def test_a_column_without_a_single_value_fits_every_type(session: Session, dtype: type) -> None:
    rows = sales(("a", MONDAY, 1))
    optional = ["tickets", "revenue", "share", "sold_out", "updated_at", "status"]
    rows[optional] = pd.DataFrame({name: pd.Series([None], dtype=dtype) for name in optional})
    assert write(session, ReplaceSlice(SALES, day(MONDAY), rows)) == [(1, 1, 0)]


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("concert_id", None, "concert_id must be given"),
        ("concert_id", 7, r"column concert_id holds 7 \(BIGINT\), expected STRING"),
        ("tickets", 1.5, "column tickets holds 1.5"),
        ("tickets", -1, "tickets must be at least 0, e.g. .*'concert_id': 'a'"),
        ("tickets", "many", "column tickets holds many"),
        ("tickets", 2**70, "tickets"),
        ("day", pd.Timestamp("2026-01-05 13:00"), "column day holds 2026-01-05 13:00:00"),
        ("day", datetime(2026, 1, 5, tzinfo=ZoneInfo("Asia/Seoul")), "column day holds .* expected DATE"),
        ("day", TUESDAY, "day must be inside the slice that is replaced .*, e.g. .*'a'"),
        ("day", None, "day must be inside the slice that is replaced"),
        ("share", np.inf, "share must be a finite number"),
        ("status", "sold", "status must be one of on_sale, completed"),
        ("revenue", Decimal("1e20"), "revenue|DECIMAL"),
        ("updated_at", 3, "column updated_at holds 3"),
        ("sold_out", "yes", "column sold_out holds yes"),
        ("status", {"a": 1}, "column status holds .*STRUCT"),
    ],
)
def test_rows_that_break_the_contract_write_nothing(
    session: Session, column: str, value: object, expected: str
) -> None:
    write(session, ReplaceSlice(SALES, day(MONDAY), sales(("before", MONDAY, 1))))
    rows = sales(("a", MONDAY, 1))
    rows[column] = pd.Series([value])
    good = ReplaceSlice(SALES, day(TUESDAY), sales(("good", TUESDAY, 1)))
    with pytest.raises(ContractError, match=expected) as refused:
        write(session, good, ReplaceSlice(SALES, day(MONDAY), rows))
    assert "features.sales" in str(refused.value)
    assert "nothing was written" in str(refused.value)
    assert stored(session) == [("before", "2026-01-05", 1)]


def test_a_repeated_key_is_refused_with_an_example(session: Session) -> None:
    with pytest.raises(ContractError, match=r"key \(concert_id, day\) is not unique, e.g. .*'twice'"):
        write(session, ReplaceSlice(SALES, day(MONDAY), sales(("twice", MONDAY, 1), ("twice", MONDAY, 2))))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (sales().drop(columns="share"), "lack share"),
        (sales().assign(extra=1), "have unknown extra"),
        (sales().rename(columns={"share": "Share"}), "lack share; have unknown Share"),
        (sales().set_axis([*SALES.column_names[:-1], "share"], axis=1), "repeat share"),
        (pd.DataFrame(), "lack concert_id, day"),
    ],
)
def test_wrong_columns_are_named(session: Session, rows: pd.DataFrame, expected: str) -> None:
    with pytest.raises(ContractError, match=expected):
        write(session, ReplaceSlice(SALES, Slice(), rows))


def test_a_query_can_be_written_and_reads_what_was_there_before_the_write(session: Session) -> None:
    write(session, ReplaceSlice(SALES, day(MONDAY), sales(("a", MONDAY, 1))))
    next_day = "SELECT * REPLACE (DATE_ADD(day, INTERVAL 1 DAY) AS day) FROM features.sales WHERE day = @day"
    monday = ReplaceSlice(SALES, day(MONDAY), sales(("b", MONDAY, 2)))
    tuesday = ReplaceSlice(SALES, day(TUESDAY), Statement(next_day, {"day": MONDAY}))
    assert write(session, monday, tuesday) == [(1, 1, 1), (1, 1, 0)]
    assert stored(session) == [("a", "2026-01-06", 1), ("b", "2026-01-05", 2)]


def test_a_refused_write_keeps_what_was_staged(session: Session) -> None:
    session.stage("kept", Statement("SELECT 1 AS one"))
    with pytest.raises(ContractError):
        write(session, ReplaceSlice(SALES, day(MONDAY), sales(("a", TUESDAY, 1))))
    assert session.scalar(Statement("SELECT kept.one FROM staging.kept")) == 1
    assert write(session, ReplaceSlice(SALES, day(MONDAY), sales(("a", MONDAY, 1)))) == [(1, 1, 0)]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (day(MONDAY), day(MONDAY)),
        (day(MONDAY, TUESDAY), day(TUESDAY, WEDNESDAY)),
        (day(TUESDAY), day(MONDAY, WEDNESDAY)),
        (day(MONDAY, WEDNESDAY), day(TUESDAY)),
        (Slice(), day(MONDAY)),
        (day(MONDAY), Slice()),
        (Slice(), day(MONDAY, group="a")),
        (day(MONDAY, group="a"), day(MONDAY)),
        (day(MONDAY, group="a"), day(MONDAY, group="a")),
    ],
)
def test_an_older_run_is_refused_where_slices_overlap(session: Session, first: Slice, then: Slice) -> None:
    write(session, ReplaceSlice(SALES, first, sales()), fence=NEW)
    with pytest.raises(StaleWriteError, match=r"features.sales .* newer run new-run.* this run old-run"):
        write(session, ReplaceSlice(SALES, then, sales()), fence=OLD)
    write(session, ReplaceSlice(SALES, then, sales()), fence=NEW)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (day(MONDAY), day(TUESDAY)),
        (day(TUESDAY, WEDNESDAY), day(MONDAY)),
        (day(MONDAY, group="a"), day(MONDAY, group="b")),
        (Slice(group=("concert_id", "a")), day(MONDAY, group="b")),
    ],
)
def test_an_older_run_may_write_elsewhere(session: Session, first: Slice, then: Slice) -> None:
    write(session, ReplaceSlice(SALES, first, sales()), fence=NEW)
    assert write(session, ReplaceSlice(SALES, then, sales()), fence=OLD) == [(0, 0, 0)]


def test_days_that_are_only_read_again_are_not_fenced(session: Session) -> None:
    again = ReplaceSlice(SALES, day(MONDAY, WEDNESDAY), sales(("a", MONDAY, 1)), fenced=day(WEDNESDAY))
    write(session, again, fence=NEW)
    write(session, ReplaceSlice(SALES, day(MONDAY, TUESDAY), sales(("a", MONDAY, 2)), fenced=day(TUESDAY)), fence=OLD)
    assert stored(session) == [("a", "2026-01-05", 2)]
    with pytest.raises(StaleWriteError):
        write(session, ReplaceSlice(SALES, day(WEDNESDAY), sales()), fence=OLD)


def test_a_refused_run_leaves_no_fence_and_a_newer_one_may_follow(session: Session) -> None:
    with pytest.raises(ContractError):
        write(session, ReplaceSlice(SALES, day(MONDAY), sales(("a", TUESDAY, 1))), fence=NEW)
    write(session, ReplaceSlice(SALES, day(MONDAY), sales(("a", MONDAY, 1))), fence=OLD)
    write(session, ReplaceSlice(SALES, day(MONDAY), sales(("a", MONDAY, 2))), fence=NEW)
    assert stored(session) == [("a", "2026-01-05", 2)]


def test_one_stale_slice_refuses_the_whole_write(session: Session) -> None:
    write(session, ReplaceSlice(SALES, day(TUESDAY), sales()), fence=NEW)
    monday = ReplaceSlice(SALES, day(MONDAY), sales(("a", MONDAY, 1)))
    with pytest.raises(StaleWriteError):
        write(session, monday, ReplaceSlice(SALES, day(TUESDAY), sales()), fence=OLD)
    assert stored(session) == []


def test_insert_missing_leaves_rows_that_are_there(session: Session) -> None:
    assert write(session, InsertMissing(SALES, sales(("a", MONDAY, 1)))) == [(1, 1, 0)]
    assert write(session, InsertMissing(SALES, sales(("a", MONDAY, 2), ("b", MONDAY, 3)))) == [(1, 1, 0)]
    assert write(session, InsertMissing(SALES, sales())) == [(0, 0, 0)]
    assert stored(session) == [("a", "2026-01-05", 1), ("b", "2026-01-05", 3)]


def newer(*rows: tuple[str, object, object], at: datetime) -> ReplaceNewer:
    return ReplaceNewer(SALES, sales(*rows, updated_at=pd.Timestamp(at)), "concert_id", ("day", "updated_at"))


def test_replace_newer_keeps_groups_that_are_newer_and_lists_them(session: Session) -> None:
    early, late = OLD.run_created_at, NEW.run_created_at
    write(session, newer(("newer-day", TUESDAY, 1), ("older-day", MONDAY, 1), ("gone", MONDAY, 1), at=early))
    write(session, newer(("same-day", TUESDAY, 1), at=late))
    rows = (("newer-day", MONDAY, 2), ("older-day", TUESDAY, 2), ("same-day", TUESDAY, 2), ("first", MONDAY, 2))
    result = session.write([newer(*rows, at=early)], fence=OLD)[0]
    assert result.skipped == ("newer-day", "same-day")
    assert (result.rows, result.added, result.removed) == (2, 2, 1)
    tickets = {row[0]: row[2] for row in stored(session)}
    assert tickets == {"newer-day": 1, "older-day": 2, "same-day": 1, "first": 2, "gone": 1}


def test_replace_newer_may_write_the_same_rows_again(session: Session) -> None:
    write(session, newer(("a", MONDAY, 1), ("a", TUESDAY, 1), at=OLD.run_created_at))
    again = session.write([newer(("a", TUESDAY, 5), at=OLD.run_created_at)], fence=OLD)[0]
    assert (again.skipped, again.added, again.removed) == ((), 1, 2)


def changed(**columns: Column | None) -> TableContract:
    kept = [columns.pop(c.name, c) for c in SALES.columns]
    listed = [c for c in (*kept, *columns.values()) if c]
    return TableContract("features", "sales", "Sales", tuple(listed), SALES.key, SALES.partition_column)


def test_a_new_nullable_column_is_added_wherever_the_contract_has_it(session: Session, warehouse: Warehouse) -> None:
    write(session, ReplaceSlice(SALES, Slice(), sales(("a", MONDAY, 1), ("b", MONDAY, 2))))
    extra = Column("artist", "STRING", "Artist", required=False)
    wider = TableContract("features", "sales", "", (SALES.columns[0], extra, *SALES.columns[1:]), SALES.key, "day")
    with warehouse.open() as second:
        rows = sales(("a", MONDAY, 1), ("b", MONDAY, 2)).assign(artist=pd.Series([None, "IU"]))
        assert write(second, ReplaceSlice(wider, day(MONDAY), rows)) == [(2, 1, 1)]


@pytest.mark.parametrize(
    ("contract", "expected"),
    [
        (changed(share=None), "column share is not in the contract"),
        (
            changed(share=Column("share", "STRING", "")),
            "column share is (DOUBLE|FLOAT64), expected (VARCHAR|STRING)",
        ),
        (changed(added=Column("added", "STRING", "")), "column added is missing and may not be null"),
    ],
)
def test_other_drift_is_an_error_that_changes_nothing(
    session: Session, warehouse: Warehouse, contract: TableContract, expected: str
) -> None:
    session.ensure(SALES)
    described = session.query_arrow(EVERYTHING).schema
    nullable = Column("also_new", "STRING", "", required=False)
    wider = TableContract("features", "sales", "", (*contract.columns, nullable), contract.key, "day")
    with (
        warehouse.open() as second,
        pytest.raises(SchemaDriftError, match=expected),
    ):
        second.ensure(wider)
    assert session.query_arrow(EVERYTHING).schema == described


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT @absent", "no value for @absent"),
        ("SELECT 1; DROP TABLE features.sales", "expected one SQL statement, found 2"),
        ("SELEC 1", "not one valid GoogleSQL statement"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT * FROM source.orders", "there are concerts, ticket_orders, makes"),
        ("SELECT * FROM source.makes", "no source was given"),
    ],
)
def test_a_query_that_cannot_run_says_why(session: Session, sql: str, expected: str) -> None:
    with pytest.raises(WarehouseError, match=expected):
        session.query(Statement(sql))


def test_a_naive_fence_an_unknown_group_and_a_backward_slice_are_refused() -> None:
    with pytest.raises(ValueError, match="must carry a time zone"):
        Fence("run", datetime(2026, 1, 1))  # noqa: DTZ001 - the case
    with pytest.raises(ValueError, match="has no column nobody"):
        ReplaceNewer(SALES, sales(), "nobody", ("day",))
    with pytest.raises(ValueError, match="cannot end"):
        Slice(TUESDAY, MONDAY)
