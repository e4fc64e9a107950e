"""What Compute Engine is sent: instances made from a template, with what differs from it."""

from collections.abc import Mapping
from datetime import UTC, datetime

from google.cloud import compute_v1

from mmt_assets.gcp.machines import Machine, MachineSpec, Provisioning


def metadata_items(values: Mapping[str, str]) -> list[compute_v1.Items]:
    """Metadata as Compute Engine wants it."""
    return [compute_v1.Items(key=key, value=value) for key, value in values.items()]


def metadata_values(metadata: compute_v1.Metadata) -> dict[str, str]:
    """Metadata as a plain mapping."""
    return {item.key: item.value for item in metadata.items}


def scheduling(spec: MachineSpec) -> compute_v1.Scheduling:
    """How long the machine may live and what ends it: the last of the layers that keep it from running on."""
    is_spot = spec.provisioning == "spot"
    return compute_v1.Scheduling(
        automatic_restart=False,
        on_host_maintenance="TERMINATE",
        provisioning_model="SPOT" if is_spot else "STANDARD",
        preemptible=is_spot,
        max_run_duration=compute_v1.Duration(seconds=spec.max_seconds),
        instance_termination_action="DELETE" if spec.lifecycle == "ephemeral" else "STOP",
    )


def instance_body(
    spec: MachineSpec,
    template: compute_v1.InstanceProperties,
    *,
    zone: str,
    name: str,
    labels: Mapping[str, str],
    metadata: Mapping[str, str],
) -> compute_v1.Instance:
    """The body of `insert`. Whatever it holds replaces what the template has, so lists are merged here.

    Args:
        spec: What differs from the template.
        template: The template's properties.
        zone: Zone.
        name: Name.
        labels: Labels; the template's others stay.
        metadata: Metadata; the template's others stay.
    """
    body = compute_v1.Instance(
        name=name,
        labels={**template.labels, **labels},
        metadata=compute_v1.Metadata(items=metadata_items({**metadata_values(template.metadata), **metadata})),
        scheduling=scheduling(spec),
    )
    if spec.machine_type:
        body.machine_type = f"zones/{zone}/machineTypes/{spec.machine_type}"
    if spec.disk_gb:
        body.disks = _disks(spec.disk_gb, template, zone)
    if spec.service_account:
        body.service_accounts = [compute_v1.ServiceAccount(email=spec.service_account, scopes=_scopes(spec, template))]
    if not spec.external_ip and any(_has_address(interface) for interface in template.network_interfaces):
        body.network_interfaces = _without_addresses(template)
    return body


def _scopes(spec: MachineSpec, template: compute_v1.InstanceProperties) -> list[str]:
    """The scopes that were set, else the template's."""
    return list(spec.scopes) or [scope for account in template.service_accounts for scope in account.scopes]


def _disks(size_gb: int, template: compute_v1.InstanceProperties, zone: str) -> list[compute_v1.AttachedDisk]:
    """The template's disks with a boot disk of another size; an instance wants the disk type with its zone."""
    disks = [compute_v1.AttachedDisk(disk) for disk in template.disks]
    for disk in disks:
        if disk.boot:
            disk.initialize_params.disk_size_gb = size_gb
        kind = disk.initialize_params.disk_type
        if kind and "/" not in kind:
            disk.initialize_params.disk_type = f"zones/{zone}/diskTypes/{kind}"
    return disks


def _has_address(interface: compute_v1.NetworkInterface) -> bool:
    return bool(interface.access_configs or interface.ipv6_access_configs)


def _without_addresses(template: compute_v1.InstanceProperties) -> list[compute_v1.NetworkInterface]:
    interfaces = [compute_v1.NetworkInterface(interface) for interface in template.network_interfaces]
    for interface in interfaces:
        interface.access_configs = []
        interface.ipv6_access_configs = []
    return interfaces


def machine(zone: str, instance: compute_v1.Instance) -> Machine:
    """What the API told of an instance."""
    is_spot = instance.scheduling.provisioning_model == "SPOT" or instance.scheduling.preemptible
    provisioning: Provisioning = "spot" if is_spot else "on_demand"
    started = instance.last_start_timestamp or instance.creation_timestamp
    return Machine(
        zone=zone.rpartition("/")[2],
        name=instance.name,
        status=instance.status,
        labels=dict(instance.labels),
        machine_type=instance.machine_type.rpartition("/")[2],
        provisioning=provisioning,
        started_at=datetime.fromisoformat(started).astimezone(UTC) if started else None,
    )
