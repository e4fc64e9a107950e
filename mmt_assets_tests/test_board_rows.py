"""The board's rows: which concert comes first and why, what changed, silence of one concert against silence of all."""

import json
import re
from datetime import date, timedelta

import pandas as pd
import pytest

from mmt_assets.board import FLAG_MEANINGS, Board, NoOutlookError, reason
from mmt_assets.board.concerts import FLAGS
from mmt_assets.contracts import CONCERT_FORECAST, CONCERT_OUTLOOK, CONCERT_SALES
from mmt_assets.warehouse import Statement
from mmt_assets_tests.board_tables import AS_OF, BEFORE, BoardTables, add_scores, every_status, page_of


def data_of(page: str) -> dict:
    """What the page's script reads."""
    [found] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


@pytest.fixture
def board(board_tables: BoardTables) -> Board:
    every_status(board_tables)
    return board_tables.board()


def test_every_status_flag_has_a_meaning_and_a_reason() -> None:
    assert set(FLAG_MEANINGS) == set(FLAGS)
    assert len({meaning.icon for meaning in FLAG_MEANINGS.values()}) == len(FLAGS), "a shape of its own for each"


def test_concerts_come_by_what_needs_attention_and_what_is_at_stake(board: Board) -> None:
    assert [one.concert_id for one in board.concerts] == [
        "still",
        "lower",  # further behind
        "low",
        "moved",  # left its interval, though on track
        "soon",
        "gone",
        "full",
        "high",
        "fresh",
        "alone",
        "ok",
        "later",
    ]


def test_each_reason_is_told_in_words(board: Board) -> None:
    told = {one.concert_id: reason(one) for one in board.concerts}
    assert told == {
        "still": "No ticket sold for 16 days while others sell.",
        "lower": "340 tickets (46%) behind comparable concerts.",
        "low": "120 tickets (23%) behind comparable concerts.",
        "moved": "5 tickets (1%) ahead of comparable concerts. The forecast left its earlier 80% interval.",
        "soon": "Sells out with 72%, around 1 Apr.",
        "gone": "Cancelled; 380 tickets not refunded yet.",
        "full": "All 400 places are sold, 30 days before the show.",
        "high": "80 tickets (25%) ahead of comparable concerts.",
        "fresh": "On sale since 9 Mar.",
        "alone": "No finished concert is similar enough.",
        "ok": "3 tickets (1%) behind comparable concerts.",
        "later": "On sale from 15 Mar.",
    }


def test_a_change_is_measured_against_the_day_before_and_what_it_expected(board: Board) -> None:
    changes = {one.concert_id: one.change for one in board.concerts}
    assert changes["fresh"] is None
    ok = changes["ok"]
    assert ok is not None
    # Sold 390 then, 490 expected at the show in 31 days: 100 / 31 of a ticket a day.
    assert (ok.since, ok.sold, ok.refunded) == (BEFORE, 10, 0)
    assert ok.expected == pytest.approx((500 - 390) / 31)
    assert ok.tickets == 0


def test_a_concert_that_stands_still_is_told_from_data_that_stopped(board_tables: BoardTables) -> None:
    every_status(board_tables)
    silent = [AS_OF - timedelta(days=k) for k in range(15)]
    sales = board_tables.rows[CONCERT_SALES]
    board_tables.rows[CONCERT_SALES] = [one for one in sales if one["sales_date"] not in silent]
    board_tables.rows[CONCERT_OUTLOOK] = [
        {**one, "status_flag": "stalled" if one["concert_id"] == "ok" else one["status_flag"]}
        for one in board_tables.rows[CONCERT_OUTLOOK]
    ]
    board = board_tables.board()
    assert board.silence is not None
    assert board.silence.days == 15
    flags = {one.concert_id: one.flag for one in board.concerts}
    # One fell silent together with all others, the other one two days before them.
    assert (flags["ok"], flags["still"]) == ("data_gap", "stalled")
    page = page_of(board)
    assert "Data gap.</strong> No sale of any concert for 15 days" in page
    assert "Sales data is flowing" not in page


def test_a_concert_that_stood_still_before_the_data_stopped_stays_stalled(board_tables: BoardTables) -> None:
    every_status(board_tables)
    sales = board_tables.rows[CONCERT_SALES]
    board_tables.rows[CONCERT_SALES] = [one for one in sales if one["sales_date"] < BEFORE]
    board = board_tables.board()
    assert board.silence is not None
    assert {one.concert_id: one.flag for one in board.concerts}["still"] == "stalled"


def test_a_forecast_on_demand_replaces_the_days_and_says_so(board_tables: BoardTables) -> None:
    every_status(board_tables)
    [day] = [
        one for one in board_tables.rows[CONCERT_OUTLOOK] if (one["concert_id"], one["as_of_date"]) == ("ok", AS_OF)
    ]
    made = {name: value for name, value in day.items() if name in CONCERT_FORECAST.columns_by_name}
    made |= {"final_p50": 512.0, "run_id": "on-demand", "run_created_at": day["run_created_at"] + timedelta(hours=1)}
    for ahead in range(3):
        path = {f"cumulative_tickets_p{level}": 400.0 + ahead for level in (10, 50, 90)}
        board_tables.add(CONCERT_FORECAST, **made, **path, sales_date=AS_OF + timedelta(days=ahead))
    newest = {one.concert_id: one for one in board_tables.board().concerts}
    assert (newest["ok"].final_p50, newest["ok"].run_id, newest["ok"].is_on_demand) == (512.0, "on-demand", True)
    assert not newest["low"].is_on_demand
    assert data_of(page_of(board_tables.board()))["series"]["ok"]["ahead"] == [[29, 401, 401, 401], [28, 402, 402, 402]]
    without = {one.concert_id: one for one in board_tables.board(with_on_demand=False).concerts}
    assert (without["ok"].final_p50, without["ok"].run_id) == (500.0, "run-of-the-day")


def test_a_past_day_is_shown_as_it_was_forecast_then(board_tables: BoardTables) -> None:
    every_status(board_tables)
    board = board_tables.board(BEFORE)
    assert board.frames.as_of == BEFORE
    assert board.frames.previous is None
    assert "fresh" not in {one.concert_id for one in board.concerts}
    assert all(one.change is None for one in board.concerts)


def test_without_any_outlook_the_error_says_what_to_do(board_tables: BoardTables) -> None:
    board_tables.write()
    with pytest.raises(NoOutlookError, match=r"no outlook up to 2026-03-10: .*make demo"):
        board_tables.read()


def test_a_day_without_active_concerts_gives_a_page(board_tables: BoardTables) -> None:
    board_tables.add_concert("ok")
    board_tables.rows[CONCERT_OUTLOOK] = board_tables.rows[CONCERT_OUTLOOK][:1]
    board = board_tables.board()
    assert board.figures.concerts == 1
    page = page_of(board)
    assert "The source holds no makes" in page
    assert "Not yet: no concert that was forecast has ended since" in page


def test_the_scoreboard_shows_the_better_model_and_where_forecasts_were_backfilled(board_tables: BoardTables) -> None:
    every_status(board_tables)
    add_scores(board_tables, [(7, 0.061, 0.058), (30, 0.12, 0.19)])
    page = page_of(board_tables.board())
    table = page[page.index('id="scores"') : page.index("</table>", page.index('id="scores"'))]
    rows = [re.sub(r"<[^>]+>|\s+", " ", row).split() for row in table.split("<tr>")[2:]]
    assert [row[0] for row in rows] == ["30", "7"]
    assert " ".join(rows[0]) == "30 41 12% 19% published forecast \N{MINUS SIGN}3% 78% boosted trees (60% of forecasts)"
    assert "pick-up" in rows[1]
    assert "These forecasts were made afterwards" in page


def test_every_number_on_the_page_equals_the_tables(board_tables: BoardTables) -> None:
    every_status(board_tables)
    data = data_of(page_of(board_tables.board()))
    shown = pd.DataFrame(data["concerts"], columns=data["columns"]).set_index("concert_id")
    with board_tables.warehouse.open() as session:
        stored = session.query(
            Statement("SELECT * FROM forecasts.concert_outlook WHERE as_of_date = @day", {"day": AS_OF})
        ).set_index("concert_id")
        sales = session.query(Statement("SELECT * FROM features.concert_sales"))
    assert set(stored.index) == set(shown.index) - {"gone"}
    same = [name for name in data["columns"] if name in stored.columns and "date" not in name and name != "comparables"]
    assert len(same) > 18
    for name in set(same) - {"computed_at"}:
        left, right = shown.loc[stored.index, name], stored[name]
        assert [None if pd.isna(a) else a for a in left] == [None if pd.isna(a) else a for a in right], name
    for concert in shown.index:
        series = data["series"][concert]
        net = int(sales["tickets_net"][sales["concert_id"] == concert].sum())
        assert (series["sold"][-1][1] if series["sold"] else 0) == net, concert
    compared = sales["tickets_net"][sales["concert_id"] == "done-2"]
    assert data["comparables"]["done-2"]["final"] == compared.sum()


def test_sales_after_the_as_of_day_are_not_on_the_page(board_tables: BoardTables) -> None:
    every_status(board_tables)
    later = date(2026, 3, 11)
    board_tables.add(
        CONCERT_SALES, concert_id="ok", sales_date=later, tickets_sold=99, tickets_net=99, tickets_refunded=0
    )
    data = data_of(page_of(board_tables.board()))
    assert data["series"]["ok"]["sold"][-1] == [30, 400]
