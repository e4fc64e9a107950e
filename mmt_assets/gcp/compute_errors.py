"""What can go wrong on Compute Engine, told apart by what to do about it."""

from collections.abc import Sequence

# No machine to be had in this zone at the moment; another zone may have one.
CAPACITY_CODES = frozenset(
    {
        "ZONE_RESOURCE_POOL_EXHAUSTED",
        "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
        "RESOURCE_POOL_EXHAUSTED",
        "STOCKOUT",
    }
)
# The project may not have more in this region, whatever the zone.
QUOTA_CODES = frozenset({"QUOTA_EXCEEDED", "QUOTAEXCEEDED", "LIMIT_EXCEEDED", "CPUS_ALL_REGIONS_EXCEEDED"})


class ComputeError(Exception):
    """Compute Engine refused, failed or did not answer; the message says what was asked of which machine."""


class CapacityError(ComputeError):
    """The zone has no such machine now."""


class QuotaError(ComputeError):
    """The project's quota is used up: another zone of the region does not help."""


class VmBusyError(ComputeError):
    """The named machine is another run's, or was claimed by it at the same moment."""


def error_of_codes(what: str, codes: Sequence[str], message: str) -> ComputeError:
    """The error that codes of an operation or a response stand for.

    Args:
        what: What was asked, for the message.
        codes: Codes such as `ZONE_RESOURCE_POOL_EXHAUSTED`.
        message: Compute Engine's own words.
    """
    told = f"{what}: {', '.join(codes)}: {message}"
    known = {code.upper() for code in codes}
    if known & CAPACITY_CODES:
        return CapacityError(told)
    if known & QUOTA_CODES:
        return QuotaError(told)
    return ComputeError(told)
