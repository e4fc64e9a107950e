"""Pub/Sub as a Dagster resource."""

import dagster as dg

from mmt_assets.gcp.pubsub import PubSub, shared_client
from mmt_assets.settings import SettingsError


class PubSubResource(dg.ConfigurableResource):
    """A project's topics and subscriptions; nobody logs in before the first call.

    Attributes:
        project: Google Cloud project; definitions load without one.
        emulator: `host:port` of an emulator instead of the service.
    """

    project: str | None = None
    emulator: str | None = None

    def client(self) -> PubSub:
        """This process's client, whose connections are kept.

        Raises:
            SettingsError: No project is set.
        """
        if self.project is None:
            raise SettingsError("MMT_PROJECT is unset: it names the project whose Pub/Sub holds the messages")
        return shared_client(self.project, self.emulator)
