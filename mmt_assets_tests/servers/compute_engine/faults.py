"""What can be made to go wrong, call by call."""

from dataclasses import dataclass
from typing import Literal, get_args

from mmt_assets_tests.servers.compute_engine.errors import ApiError
from mmt_assets_tests.servers.compute_engine.history import History

Fault = Literal[
    "capacity",
    "capacity_with_details",
    "quota",
    "operation_failed",
    "forbidden",
    "too_many",
    "unavailable",
    "late_unavailable",
    "lost_operation",
    "unknown_operation",
    "stuck_operation",
    "slow_boot",
    "no_script",
    "preempt_after",
    "hang",
]
Call = Literal[
    "insert",
    "delete",
    "start",
    "stop",
    "get",
    "list",
    "aggregatedList",
    "setLabels",
    "setMetadata",
    "setScheduling",
    "getGuestAttributes",
    "serialPort",
    "operations.get",
    "operations.wait",
    "templates.get",
    "poweroff",
]
CHANGES = ("insert", "delete", "start", "stop", "setLabels", "setMetadata", "setScheduling")
_MAKES_NO_SENSE_BUT_FOR: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("capacity", "capacity_with_details", "quota"), ("insert", "start")),
    **dict.fromkeys(("slow_boot", "no_script", "preempt_after"), ("insert", "start")),
    **dict.fromkeys(("operation_failed", "late_unavailable"), CHANGES),
    **dict.fromkeys(("lost_operation", "unknown_operation", "stuck_operation"), CHANGES),
}
_NO_CAPACITY = "The zone '{zone}' does not have enough resources available to fulfill the request."
# Code and message of operations that end with an error. Compute Engine sends no HTTP status with these.
OPERATION_ERRORS = {
    "capacity": ("ZONE_RESOURCE_POOL_EXHAUSTED", f"{_NO_CAPACITY} Try a different zone, or try again later."),
    "capacity_with_details": (
        "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
        f"{_NO_CAPACITY} '(resource type:compute)'.",
    ),
    "quota": ("QUOTA_EXCEEDED", "Quota 'CPUS' exceeded. Limit: 24.0 in region {region}."),
    "operation_failed": ("INTERNAL_ERROR", "Internal error. Please try again or contact Google Support."),
}
HTTP_ERRORS = {
    "forbidden": (403, "Required 'compute.instances.{call}' permission for '{instance}'", "forbidden"),
    "too_many": (429, "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute'", "rateLimitExceeded"),
    "unavailable": (503, "The service is currently unavailable.", "backendError"),
}


@dataclass
class Injection:
    """A fault that waits for its call.

    Attributes:
        call: API method.
        fault: What goes wrong.
        times: How many calls it meets; None for all from now on.
        zone: Only calls in this zone.
        instance: Only calls on this instance.
        seconds: How long, for faults that take time.
        after: Calls that it lets pass first.
    """

    call: Call
    fault: Fault
    times: int | None = 1
    zone: str | None = None
    instance: str | None = None
    seconds: float = 1.0
    after: int = 0

    def __post_init__(self) -> None:
        if self.call not in get_args(Call) or self.fault not in get_args(Fault):
            raise ValueError(f"{self.call}: {self.fault} is no fault of a call; calls {get_args(Call)}")
        if self.call not in _MAKES_NO_SENSE_BUT_FOR.get(self.fault, (self.call,)):
            raise ValueError(f"{self.fault} cannot happen to {self.call}")


class Faults:
    """The injections of one project.

    Attributes:
        waiting: Those that have not met all their calls.
        history: Where each that is met is recorded.
    """

    def __init__(self, history: History) -> None:
        self.waiting: list[Injection] = []
        self.history = history

    def take(self, call: str, zone: str | None, instance: str | None, *, is_hang: bool = False) -> Injection | None:
        """The first fault that meets this call, used up by it; one that only delays is asked for by itself."""
        for injection in self.waiting:
            if injection.call != call or (injection.fault == "hang") is not is_hang:
                continue
            if injection.zone not in (None, zone) or injection.instance not in (None, instance):
                continue
            if injection.after > 0:
                injection.after -= 1
                continue
            if injection.times is not None:
                injection.times -= 1
                if injection.times == 0:
                    self.waiting.remove(injection)
            self.history.record("fault", call=call, fault=injection.fault, zone=zone, instance=instance)
            return injection
        return None


def http_error(injection: Injection, instance: str | None) -> ApiError:
    code, message, reason = HTTP_ERRORS[injection.fault]
    return ApiError(code, message.format(call=injection.call, instance=instance), reason)
