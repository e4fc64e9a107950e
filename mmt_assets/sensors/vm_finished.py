"""Releases the machine that says it has finished, whoever else is alive."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

from mmt_assets.gcp.compute_errors import ComputeError
from mmt_assets.gcp.pubsub_setup import VM_EVENTS
from mmt_assets.resources import PubSubResource
from mmt_assets.resources.compute_engine import open_client
from mmt_assets.resources.machine_end import end_machine, has_ended
from mmt_assets.sensors.vm_reaper import PATIENCE_SECONDS
from mmt_assets.settings import Settings

if TYPE_CHECKING:
    from mmt_assets.gcp.compute_engine import ComputeEngine

_INTERVAL_SECONDS = 10
_MOST_MESSAGES = 100
_PULL_SECONDS = 3.0
# A run that lives ends its machine itself, within seconds; it reads the worker's exit code first.
_LEFT_TO_THE_RUN = timedelta(seconds=60)


class VmFinished(BaseModel):
    """Attributes of the message that a machine's startup script sends last."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    event: Literal["vm.finished"]
    run_id: str
    zone: str
    instance: str
    exit: str = ""


def release_finished(
    instance: dg.DagsterInstance,
    client: "ComputeEngine",
    settings: Settings,
    attributes: Mapping[str, str],
    age: timedelta,
) -> tuple[bool, str]:
    """Release the machine that a message names, if it still works for the run that the message names.

    Args:
        instance: Dagster instance.
        client: Client.
        settings: Settings.
        attributes: The message's attributes; anybody may have written them.
        age: Age of the message.

    Returns:
        Whether the message is done with, and what was done.

    Raises:
        ComputeError: The API did not answer.
    """
    try:
        said = VmFinished.model_validate(dict(attributes))
    except ValidationError as error:
        return True, f"not a message of an analysis server: {error.errors()[0]['msg']}"
    place = f"{said.zone}/{said.instance}"
    machine = client.find(said.zone, said.instance)
    if machine is None or machine.is_gone:
        return True, f"{place} is gone already"
    if not machine.is_ours(settings.deployment) or machine.run_id != said.run_id:
        return True, f"{place} does not work for run {said.run_id}: left alone"
    sent_at = datetime.now(UTC) - age
    if machine.started_at and machine.started_at > sent_at:
        return True, f"{place} was started after the message: left alone"
    if not has_ended(instance, said.run_id) and age < _LEFT_TO_THE_RUN:
        return False, f"{place} is left to run {said.run_id}, which is at work"
    return True, f"{place} of run {said.run_id}: {end_machine(instance, client, settings, machine, 'finished_sensor')}"


def vm_finished_sensor(settings: Settings) -> dg.SensorDefinition:
    """Takes the machines' messages; duplicates and stale ones do no harm."""

    @dg.sensor(
        name="vm_finished_sensor",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Releases the analysis server whose message says that it has finished.",
    )
    def sensor(context: dg.SensorEvaluationContext, pubsub: PubSubResource) -> dg.SkipReason:
        queue, subscription = pubsub.client(), VM_EVENTS.subscription
        messages = queue.pull(subscription, _MOST_MESSAGES, timeout=_PULL_SECONDS)
        if not messages:
            return dg.SkipReason("no machine has said that it has finished")
        client = open_client(settings, patience=PATIENCE_SECONDS)
        done, later, told = list[str](), list[str](), list[str]()
        for message in messages:
            age = datetime.now(UTC) - message.published_at
            try:
                is_done, line = release_finished(context.instance, client, settings, message.attributes, age)
            except ComputeError as error:
                is_done, line = False, str(error)
            (done if is_done else later).append(message.ack_id)
            told.append(line)
            context.log.info(line)
        queue.acknowledge(subscription, done)
        queue.release(subscription, later)
        return dg.SkipReason("; ".join(told))

    return sensor
