"""How good the published forecasts were, by days before the show."""

from dataclasses import dataclass
from datetime import date

import pandas as pd

from mmt_assets.board.values import day, number, text

COVERAGE_TARGET = 0.8
_PUBLISHED, _YARDSTICK = "published", "additive_pickup"


@dataclass(frozen=True)
class Score:
    """Forecasts made so many days before the show, against what was sold in the end.

    Attributes:
        error: Sum of absolute errors over tickets sold (WAPE).
        yardstick_error: The same of additive pick-up, on the same concerts.
        bias: Forecast minus actual over actual.
        coverage: Share of concerts whose total lay between p10 and p90.
        champion: Single model that most often weighed most, and how often.
    """

    days_to_show: int
    concerts: int
    error: float | None
    yardstick_error: float | None
    bias: float | None
    coverage: float | None
    champion: str | None
    champion_share: float | None

    @property
    def beats_yardstick(self) -> bool | None:
        """Whether the published forecast had the smaller error; None when one of the two is unknown."""
        if self.error is None or self.yardstick_error is None:
            return None
        return self.error <= self.yardstick_error


@dataclass(frozen=True)
class Scoreboard:
    """The scores to show first: live ones, or backfilled ones until enough live ones exist."""

    origin: str
    until: date
    scores: tuple[Score, ...]


def build_scoreboard(accuracy: pd.DataFrame) -> Scoreboard | None:
    """Put the headline of the accuracy table together; None while no forecast could be judged."""
    if accuracy.empty:
        return None
    published = accuracy[accuracy["model"] == _PUBLISHED]
    yardstick = accuracy[accuracy["model"] == _YARDSTICK].set_index("days_to_show")["wape"]
    if published.empty:
        return None
    scores = [
        Score(
            days_to_show=int(row["days_to_show"]),
            concerts=int(row["concerts_count"]),
            error=number(row["wape"]),
            yardstick_error=number(yardstick.get(row["days_to_show"])),
            bias=number(row["bias"]),
            coverage=number(row["coverage_80"]),
            champion=text(row["champion"]),
            champion_share=number(row["champion_share"]),
        )
        for row in published.sort_values("days_to_show", ascending=False).to_dict("records")
    ]
    return Scoreboard(str(published["origin"].iloc[0]), day(published["scored_until_date"].max()), tuple(scores))
