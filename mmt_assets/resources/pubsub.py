"""Pub/Sub as a Dagster resource."""

from typing import TYPE_CHECKING

import dagster as dg

from mmt_assets.settings import SettingsError

if TYPE_CHECKING:
    from mmt_assets.gcp.pubsub import PubSub


class PubSubResource(dg.ConfigurableResource):
    """A project's topics and subscriptions; nobody logs in before the first call.

    Attributes:
        project: Google Cloud project; definitions load without one.
        emulator: `host:port` of an emulator instead of the service.
    """

    project: str | None = None
    emulator: str | None = None

    def client(self) -> "PubSub":
        """This process's client, whose connections are kept.

        Raises:
            SettingsError: No project is set.
        """
        if self.project is None:
            raise SettingsError("MMT_PROJECT is unset: it names the project whose Pub/Sub holds the messages")
        # Google's client takes a third of a second to load, and every run loads this module.
        from mmt_assets.gcp.pubsub import shared_client  # noqa: PLC0415

        return shared_client(self.project, self.emulator)
