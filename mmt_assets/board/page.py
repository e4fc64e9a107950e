"""The page: templates filled with values that are escaped, style and scripts inside, allowed by their hashes alone."""

from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mmt_assets.board import text
from mmt_assets.board.attention import FLAG_MEANINGS, reason
from mmt_assets.board.changes import CAUSES
from mmt_assets.board.charts import comparable_series, concert_series
from mmt_assets.board.concerts import BoardConcert
from mmt_assets.board.demand import MEASURES, heat_table, waiting_fans
from mmt_assets.board.scoreboard import build_scoreboard
from mmt_assets.board.summary import Board

_SCRIPTS = ("chart.js", "board.js")


@dataclass(frozen=True)
class About:
    """What the page says of itself.

    Attributes:
        generated_at: When it was made (aware).
        timezone: Business time zone.
        is_sample: Whether the data is simulated, which the page then says.
        dagster_url: Address of Dagster's UI to link to, without a slash at the end; None for no links.
    """

    generated_at: datetime
    timezone: str
    is_sample: bool = False
    dagster_url: str | None = None


def render_board(board: Board, about: About) -> str:
    """The board as one HTML page that needs nothing else."""
    frames, concerts = board.frames, board.concerts
    style, script = _asset("board.css"), _script()
    dated = [one for one in concerts if one.computed_at]
    return (
        _environment()
        .get_template("board.html.j2")
        .render(
            about=about,
            policy=_policy(style, script),
            style=Markup(style),  # noqa: S704 - a file of ours
            script=Markup(script),  # noqa: S704 - a file of ours
            data=_data(board, about),
            as_of=frames.as_of,
            previous=frames.previous,
            concerts=concerts,
            reasons=[reason(one) for one in concerts],
            meanings=FLAG_MEANINGS,
            flag_counts=_flag_counts(concerts),
            artists=sorted({one.artist for one in concerts}, key=str.casefold),
            cities=sorted({f"{one.city}, {one.country}" for one in concerts}),
            figures=board.figures,
            silence=board.silence,
            silence_message=board.silence_message,
            pulse=board.pulse,
            heat=heat_table(frames.demand, concerts),
            measures=list(MEASURES.values()),
            waiting=waiting_fans(frames.demand, concerts),
            scoreboard=build_scoreboard(frames.accuracy),
            on_demand=sum(one.is_on_demand for one in concerts),
            last_order_at=frames.last_order_at,
            rejected=frames.rejected.to_dict("records"),
            provenance=max(dated, key=lambda one: str(one.computed_at), default=None),
        )
    )


def _flag_counts(concerts: Sequence[BoardConcert]) -> list[tuple[str, int]]:
    counts = Counter(one.flag for one in concerts)
    return [(flag, counts[flag]) for flag in FLAG_MEANINGS if counts[flag]]


# Columns of the CSV and of the script's data; each holds what the tables hold.
_PLAIN = (
    "concert_id",
    "as_of_date",
    "artist",
    "city",
    "country",
    "venue",
    "show_date",
    "days_to_show",
    "on_sale_date",
    "flag",
    "status_flag",
    "sold",
    "gross_sold",
    "refunded",
    "capacity",
    "final_p10",
    "final_p50",
    "final_p90",
    "sell_out_probability",
    "sell_out_date",
    "pace_tickets",
    "pace_pct",
    "demand_fans",
    "last_sale_date",
    "days_without_sale",
    "comparables",
    "champion",
    "method",
    "method_reason",
    "origin",
    "is_on_demand",
    "computed_at",
    "run_id",
    "commit",
)
_OF_CHANGE = {
    "change_tickets": "tickets",
    "changed_since": "since",
    "sold_since": "sold",
    "expected_since": "expected",
    "refunded_since": "refunded",
    "capacity_before": "capacity",
    "show_date_before": "show_date",
}


def _data(board: Board, about: About) -> dict[str, Any]:
    frames, concerts = board.frames, board.concerts
    named = {name for one in concerts for name in one.comparables}
    return {
        "as_of": frames.as_of.isoformat(),
        "dagster_url": about.dagster_url,
        "causes": CAUSES,
        "columns": [*_PLAIN, *_OF_CHANGE, *CAUSES],
        "concerts": [_values(one) for one in concerts],
        "series": concert_series(frames, concerts),
        "comparables": comparable_series(frames, named),
    }


def _values(one: BoardConcert) -> list[Any]:
    change = one.change
    values = [getattr(one, name) for name in _PLAIN]
    values += [getattr(change, name) if change else None for name in _OF_CHANGE.values()]
    values += [change.causes.get(name) if change else None for name in CAUSES]
    return [value.isoformat() if isinstance(value, date) else value for value in values]


@cache
def _asset(name: str) -> str:
    return files("mmt_assets.board").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    parts = "\n".join(_asset(name) for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}\n}})();\n'


def _policy(style: str, script: str) -> str:
    """Content security policy: this style and this script run, nothing is fetched, whatever the data holds."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(content: str) -> str:
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mmt_assets.board"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(text.FILTERS)
    # Names in other scripts stay as they are, and a NaN would be no JSON.
    environment.policies["json.dumps_kwargs"] = {
        "ensure_ascii": False,
        "allow_nan": False,
        "separators": (",", ":"),
        "sort_keys": False,
    }
    return environment
