"""Commands about messages: ask for forecasts through Pub/Sub, set up its queues, read the dead letters."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape

from mmt_assets.cli.terminal import console, fail, read_settings
from mmt_assets.settings import Settings, SettingsError

# Google's libraries take a second to import, which no other command should pay.
if TYPE_CHECKING:
    from mmt_assets.gcp.pubsub import PubSub

request = typer.Typer(no_args_is_help=True, help="Ask for a forecast through Pub/Sub, as other tools do.")
pubsub = typer.Typer(no_args_is_help=True, help="Topics, subscriptions and dead letters.")
_MOST_LETTERS = 100
_SHOWN_CHARACTERS = 200


@request.command("concert")
def request_concert(concert_id: Annotated[str, typer.Argument(help="Concert, as the source names it")]) -> None:
    """Ask for one concert's forecast now."""
    from mmt_assets.gcp.forecast_request import ConcertRequest  # noqa: PLC0415

    try:
        wanted = ConcertRequest(concert_id=concert_id)
    except ValidationError as error:
        fail(f"concert_id {concert_id[:_SHOWN_CHARACTERS]!r}: {error.errors()[0]['msg']}")
    _publish(wanted.model_dump_json())


@request.command("daily")
def request_daily(
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day; default the last complete one")
    ] = None,
    rerun: Annotated[bool, typer.Option(help="Make the day again although it was made")] = False,
) -> None:
    """Ask for a day's run, as Cloud Scheduler does."""
    from mmt_assets.gcp.forecast_request import DailyRequest  # noqa: PLC0415

    _publish(DailyRequest(as_of_date=as_of.date() if as_of else None, rerun=rerun).model_dump_json(exclude_none=True))


def _publish(text: str) -> None:
    from mmt_assets.gcp.pubsub import PubSubError  # noqa: PLC0415
    from mmt_assets.gcp.pubsub_setup import REQUESTS  # noqa: PLC0415

    settings = read_settings()
    try:
        with _client(settings) as client:
            message_id = client.publish(REQUESTS.topic, text.encode())
            console.print(f"message {message_id} published to {client.topic(REQUESTS.topic)}: {text}", highlight=False)
    except PubSubError as error:
        fail(str(error))


@pubsub.command("setup")
def setup() -> None:
    """Create topics, subscriptions and dead letters that are missing; what exists is brought in line."""
    from mmt_assets.gcp.pubsub import PubSubError  # noqa: PLC0415
    from mmt_assets.gcp.pubsub_setup import set_up  # noqa: PLC0415

    settings = read_settings()
    try:
        with _client(settings) as client:
            for line in set_up(client):
                console.print(line, highlight=False)
    except PubSubError as error:
        fail(str(error))


@pubsub.command("dead-letters")
def dead_letters(
    remove: Annotated[bool, typer.Option(help="Remove those that are shown, for good")] = False,
) -> None:
    """Show messages that were rejected, with the reason; they stay unless they are removed."""
    from mmt_assets.gcp.pubsub import PubSubError  # noqa: PLC0415
    from mmt_assets.gcp.pubsub_setup import DEAD_LETTERS  # noqa: PLC0415

    settings = read_settings()
    try:
        with _client(settings) as client:
            letters = client.pull(DEAD_LETTERS.subscription, _MOST_LETTERS)
            for letter in letters:
                # What Pub/Sub itself gave up on has no reason.
                reason = letter.attributes.get("reason", "delivered too often without an answer")
                source = letter.attributes.get("source_message_id", letter.message_id)
                content = letter.data[:_SHOWN_CHARACTERS].decode(errors="replace")
                told = f"message {source} ({letter.published_at:%Y-%m-%d %H:%M:%S} UTC): {reason}\n    {content}"
                console.print(escape(told), highlight=False)
            done = client.acknowledge if remove else client.release
            done(DEAD_LETTERS.subscription, [letter.ack_id for letter in letters])
            console.print(f"{len(letters)} dead letters{' removed' if remove else ''}", highlight=False)
    except PubSubError as error:
        fail(str(error))


def _client(settings: Settings) -> "PubSub":
    from mmt_assets.gcp.pubsub import PubSub  # noqa: PLC0415

    try:
        return PubSub(settings.project_id(), emulator=settings.pubsub_emulator)
    except SettingsError as error:
        fail(str(error))
