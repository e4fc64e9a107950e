"""Resources as Dagster itself makes them from their values, not as tests pass them."""

import dagster as dg
import pytest

from mmt_assets.build import build_resources
from mmt_assets.settings import Settings

LOCAL = {"MMT_ENV": "local"}
CLOUD = {"MMT_ENV": "gcp", "MMT_PROJECT": "some-project", "MMT_FAN_HASH_KEY": "tests"}


@pytest.mark.parametrize("environment", [LOCAL, CLOUD], ids=["local", "gcp"])
def test_every_resource_can_be_initialised_in_a_run(environment: dict[str, str]) -> None:
    resources = build_resources(Settings.from_env(environment))
    seen = set[str]()

    @dg.op(required_resource_keys=set(resources))
    def look(context: dg.OpExecutionContext) -> None:
        seen.update(name for name in resources if getattr(context.resources, name) is not None)

    @dg.job(resource_defs=resources)
    def every_resource() -> None:
        look()

    every_resource.execute_in_process()
    assert seen == set(resources)
