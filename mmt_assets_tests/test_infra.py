"""The infrastructure and what is said of it: every alert has its runbook entry, every setting exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mmt_assets.gcp.pubsub_setup import QUEUES
from mmt_assets.settings import Settings

ROOT = Path(__file__).parents[1]
INFRA = ROOT / "infra"


def entries() -> set[str]:
    return set(re.findall(r"^## (\S+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE))


def alerts() -> set[str]:
    text = (INFRA / "alerts.tf").read_text()
    thresholds = re.findall(r"^    ([a-z-]+) = \{$", text, re.MULTILINE)
    return {*thresholds, *re.findall(r'format\(local\.runbook, "([a-z-]+)"\)', text)}


def test_each_alert_has_an_entry_in_the_runbook_and_each_entry_an_alert() -> None:
    assert len(alerts()) > 5
    assert entries() == alerts()


def test_the_host_gets_settings_that_exist() -> None:
    block = re.search(r"host_settings = \{\n(.*?)\n  \}", (INFRA / "host.tf").read_text(), re.DOTALL)
    assert block is not None
    names = re.findall(r"^\s+(\w+)\s+=", block[1], re.MULTILINE)
    ours = [name.removeprefix("MMT_").lower() for name in names if name.startswith("MMT_")]
    assert len(ours) > 5
    assert [name for name in ours if name not in Settings.model_fields] == []


def test_queues_have_the_names_that_the_code_location_uses() -> None:
    text = (INFRA / "messages.tf").read_text()
    for queue in QUEUES:
        assert f'"{queue.topic}"' in text
        assert f'"{queue.subscription}"' in text


@pytest.mark.parametrize("path", ["dagster.yaml", "workspace.yaml", "infra/host/dagster.yaml"])
def test_no_key_of_a_configuration_stands_twice(path: str) -> None:
    # YAML keeps the last one without a word.
    def keys(node: yaml.Node) -> Iterator[tuple[str, ...]]:
        if isinstance(node, yaml.MappingNode):
            yield tuple(key.value for key, _ in node.value)
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        for child in children:
            for one in child if isinstance(child, tuple) else (child,):
                yield from keys(one)

    found = list(keys(yaml.compose((ROOT / path).read_text())))
    assert found
    assert [names for names in found if len(names) != len(set(names))] == []


@pytest.mark.parametrize("event", ["day_failed", "day_finished", "vm_reaped", "request_rejected"])
def test_what_metrics_count_is_what_the_code_says(event: str) -> None:
    assert f'"{event}"' in (INFRA / "logs.tf").read_text()
    said = [path for path in (ROOT / "mmt_assets").rglob("*.py") if f'"{event}"' in path.read_text()]
    assert said, f"nobody logs event={event}"


@pytest.mark.parametrize(
    "page", [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"], ids=lambda path: path.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    local = [target for target in targets if target and not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []
