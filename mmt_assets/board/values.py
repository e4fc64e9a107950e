"""Cells of frames as plain values, whichever warehouse they came from."""

from datetime import date, datetime
from typing import Any

import pandas as pd


def day(value: Any) -> date:
    """A business day."""
    return pd.Timestamp(value).date()


def instant(value: Any) -> datetime | None:
    """An instant, or None for null."""
    return None if pd.isna(value) else pd.Timestamp(value).to_pydatetime()


def number(value: Any) -> float | None:
    """A number, or None for null."""
    return None if pd.isna(value) else float(value)


def text(value: Any) -> str | None:
    """A text, or None for null and for an empty one."""
    return None if pd.isna(value) or value == "" else str(value)
