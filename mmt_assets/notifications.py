"""Telling people what changed: which alerts are news, and the channels that carry them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pandas as pd

from mmt_assets.contracts import CONCERT_OUTLOOK, NOTIFICATIONS
from mmt_assets.forecasting.alerts import find_alerts
from mmt_assets.warehouse import Fence, ReplaceNewer, Session, Statement

_SALES_DAYS = 120
_SHOWN = 20
_WRITER = "notifications"


class NotSentError(Exception):
    """No channel took the message, or an address is none; the message never shows an address."""


@dataclass(frozen=True)
class Digest:
    """What is to be told of a day.

    Attributes:
        as_of: As-of date.
        news: Rows of the notifications table that begin now.
        ongoing: Rows of alerts that were told before and still hold.
    """

    as_of: date
    news: pd.DataFrame
    ongoing: pd.DataFrame

    @property
    def title(self) -> str:
        """One line."""
        count = len(self.news)
        return f"Concert forecasts as of {self.as_of}: {count} {'alert' if count == 1 else 'alerts'}"

    @property
    def body(self) -> str:
        """One line per alert, up to twenty."""
        lines = list(self.news["message"])
        more = [f"... and {len(lines) - _SHOWN} more in forecasts.concert_outlook"] if len(lines) > _SHOWN else []
        return "\n".join([*lines[:_SHOWN], *more])


def digest(session: Session, as_of: date, *, again_days: int) -> Digest | None:
    """Find what holds on a day, and what of it nobody was told yet.

    Args:
        session: Warehouse.
        as_of: The day; its live outlook is looked at.
        again_days: Days after which an alert that had ended counts as new.

    Returns:
        The digest; None when the day has no live outlook.
    """
    for contract in (NOTIFICATIONS, CONCERT_OUTLOOK):
        session.ensure(contract)
    outlook = session.query(
        Statement(
            "SELECT * FROM forecasts.concert_outlook WHERE as_of_date = @as_of AND origin = 'live' "
            "ORDER BY days_to_show, concert_id",
            {"as_of": as_of},
        )
    )
    if outlook.empty:
        return None
    first_day = as_of - timedelta(days=_SALES_DAYS)
    sales = session.query(Statement.from_file("forecasts/recent_sales.sql", first_day=first_day, as_of=as_of))
    told = session.query(Statement("SELECT * FROM operations.notifications"))
    return split_alerts(find_alerts(outlook, sales, as_of), told, as_of, again_days=again_days)


def split_alerts(alerts: pd.DataFrame, told: pd.DataFrame, as_of: date, *, again_days: int) -> Digest:
    """Tell news from what people know: an alert that held within the last `again_days` days is the same spell.

    Args:
        alerts: What `find_alerts` returned.
        told: Rows of the notifications table.
        as_of: The day.
        again_days: Days after which an alert that had ended counts as new.
    """
    last = {(row["kind"], row["subject"]): row for row in told.sort_values("last_date").to_dict("records")}
    news, ongoing = [], []
    day, oldest = pd.Timestamp(as_of), pd.Timestamp(as_of) - timedelta(days=again_days)
    for kind, subject, message in alerts[["kind", "concert_id", "message"]].itertuples(index=False):
        known = last.get((kind, subject))
        if known is not None and pd.Timestamp(known["last_date"]) >= oldest:
            seen = max(day, pd.Timestamp(known["last_date"]))
            ongoing.append({**known, "last_date": seen})
            continue
        row = {"notification_id": f"{kind}:{subject}:{as_of}", "kind": kind, "subject": subject}
        news.append({**row, "first_date": day, "last_date": day, "message": message})
    columns = list(NOTIFICATIONS.column_names)
    return Digest(as_of, pd.DataFrame(news, columns=columns), pd.DataFrame(ongoing, columns=columns))


def record(session: Session, found: Digest) -> None:
    """Remember what was told and what still holds. What was told is never forgotten for an older day."""
    now = datetime.now(UTC)
    news = found.news.assign(notified_at=now)
    rows = pd.concat([part for part in (news, found.ongoing) if len(part)] or [news], ignore_index=True)
    if rows.empty:
        return
    write = ReplaceNewer(NOTIFICATIONS, rows, "notification_id", ("last_date",))
    session.write([write], fence=Fence(_WRITER, now))


def send(channels: Sequence[str], title: str, body: str, *, is_failure: bool = False) -> int:
    """Send a message to every channel; returns how many did not take it.

    Args:
        channels: Apprise addresses.
        title: One line.
        body: Plain text.
        is_failure: Whether it tells of a failure; many channels colour it.

    Raises:
        NotSentError: An address is none, or no channel took the message.
    """
    # Takes half a second to import, which only those who notify should pay.
    import apprise  # noqa: PLC0415

    opened = []
    for number, address in enumerate(channels, start=1):
        channel = apprise.Apprise()
        if not channel.add(address):
            raise NotSentError(
                f"channel {number} of {len(channels)} in MMT_NOTIFY_URLS is no Apprise address such as "
                "slack://TOKENS, msteams://TOKENS or mailtos://USER:PASSWORD@HOST"  # pragma: allowlist secret
            )
        opened.append(channel)
    kind = apprise.NotifyType.FAILURE if is_failure else apprise.NotifyType.INFO
    failed = sum(not channel.notify(title=title, body=body, notify_type=kind) for channel in opened)
    if failed == len(opened):
        raise NotSentError(f"none of {len(opened)} channels in MMT_NOTIFY_URLS took the message {title!r}")
    return failed
