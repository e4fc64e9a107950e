"""A concert that stands still is told apart from data that stopped."""

from datetime import date

import pandas as pd
import pytest

from mmt_assets.forecasting.alerts import Silence, data_glitch, find_alerts, stalled_by_itself

AS_OF = date(2026, 3, 31)


def sales(*, last: str = "2026-03-31", concerts: tuple[str, ...] = ("a", "b"), every: int = 1) -> pd.DataFrame:
    """Ten tickets a concert each `every` days, from 1 February to `last`."""
    days = pd.date_range("2026-02-01", last)[::-1][::every]
    return pd.DataFrame(
        [{"concert_id": c, "sales_date": day.date(), "tickets_sold": 10} for c in concerts for day in days],
        columns=["concert_id", "sales_date", "tickets_sold"],
    )


def outlook(**flags: str) -> pd.DataFrame:
    figures = {
        "artist": "Epik High",
        "city": "Berlin",
        "status": "on_sale",
        "days_to_show": 40,
        "sold": 1200,
        "capacity": 3500.0,
        "final_p50": 2100.4,
        "sell_out_probability": 0.62,
        "pace_pct": -31.0,
        "pace_tickets": -300.0,
    }
    return pd.DataFrame([{"concert_id": c, "status_flag": flag, **figures} for c, flag in flags.items()])


def test_a_single_day_without_any_sale_is_a_glitch_where_every_day_sold_before() -> None:
    glitch = data_glitch(sales(last="2026-03-30"), AS_OF)
    assert glitch == Silence(date(2026, 3, 31), 1, 0.5 / 57)


def test_days_without_sales_are_no_news_where_they_are_common() -> None:
    assert data_glitch(sales(last="2026-03-30", every=3), AS_OF) is None
    long_silence = data_glitch(sales(last="2026-03-15", every=3), AS_OF)
    assert long_silence is not None
    assert (long_silence.first_date, long_silence.days) == (date(2026, 3, 16), 16)


@pytest.mark.parametrize(
    ("rows", "on_sale"),
    [
        (sales(), True),
        (sales(last="2026-03-30"), False),
        (sales().iloc[:0], True),
        (sales(last="2026-03-30").query("sales_date > @pd.Timestamp('2026-03-25').date()"), True),
        (sales().assign(tickets_sold=0), True),
    ],
    ids=["sales go on", "nothing is on sale", "nothing was ever sold", "too few days before", "refunds alone"],
)
def test_what_is_no_glitch(rows: pd.DataFrame, on_sale: bool) -> None:
    assert data_glitch(rows, AS_OF, on_sale=on_sale) is None


def test_days_with_refunds_alone_do_not_hide_a_glitch_and_later_days_are_not_looked_at() -> None:
    refunds = pd.DataFrame([{"concert_id": "a", "sales_date": AS_OF, "tickets_sold": 0}])
    later = pd.DataFrame([{"concert_id": "a", "sales_date": date(2026, 4, 2), "tickets_sold": 5}])
    glitch = data_glitch(pd.concat([sales(last="2026-03-30"), refunds, later]), AS_OF)
    assert glitch is not None
    assert glitch.days == 1


def test_a_concert_that_fell_silent_with_all_others_is_not_stalled_by_itself() -> None:
    quiet = sales(last="2026-03-01", concerts=("stalled",))
    rows = pd.concat([quiet, sales(last="2026-03-16", concerts=("a", "b"))])
    glitch = data_glitch(rows, AS_OF)
    assert glitch is not None
    assert stalled_by_itself(["stalled", "a", "never_sold"], rows, AS_OF, glitch) == {"stalled", "never_sold"}
    assert stalled_by_itself(["stalled", "a"], rows, AS_OF, None) == {"stalled", "a"}


def test_alerts_name_the_concert_and_say_why() -> None:
    rows = pd.concat([sales(), sales(last="2026-03-10", concerts=("d",))])
    found = find_alerts(outlook(a="on_track", b="behind", c="likely_sell_out", d="stalled", e="sold_out"), rows, AS_OF)
    assert list(zip(found["kind"], found["concert_id"], strict=True)) == [
        ("behind", "b"),
        ("likely_sell_out", "c"),
        ("stalled", "d"),
    ]
    standing = "Epik High in Berlin ({}), 40 days to the show: 1,200 of 3,500 sold, 2,100 expected; "
    assert found["message"].tolist() == [
        f"Behind: {standing.format('b')}31% behind comparable concerts.",
        f"Likely sell-out: {standing.format('c')}probability 62%.",
        f"Stalled: {standing.format('d')}nothing sold for two weeks while other concerts sell.",
    ]


def test_a_glitch_comes_first_and_takes_the_concerts_that_only_seem_to_stand_still() -> None:
    rows = sales(last="2026-03-16", concerts=("a", "b"))
    found = find_alerts(outlook(a="stalled", b="stalled"), rows, AS_OF)
    assert found[["kind", "concert_id"]].to_numpy().tolist() == [["data_glitch", ""]]
    assert found["message"].iloc[0] == (
        "No sale of any concert for 15 days, since 2026-03-17, with 2 on sale: "
        "the data has probably stopped, not the sales. Check the source."
    )


def test_no_concert_gives_no_alert() -> None:
    assert find_alerts(outlook(a="on_track").iloc[:0], sales(), AS_OF).empty
