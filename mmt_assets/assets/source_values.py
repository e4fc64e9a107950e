"""Values that source rows are held against, bound to the SQL as parameters."""

from functools import cache
from hashlib import sha256
from zoneinfo import available_timezones

_SHA256_BLOCK_BYTES = 64


@cache
def currency_codes() -> tuple[str, ...]:
    """ISO 4217 codes."""
    # Loads its data files when it is imported.
    import pycountry  # noqa: PLC0415

    return tuple(sorted(currency.alpha_3 for currency in pycountry.currencies))


@cache
def timezone_names() -> tuple[str, ...]:
    """IANA time zones."""
    return tuple(sorted(available_timezones()))


def hmac_pads(key: str) -> tuple[bytes, bytes]:
    """Inner and outer padded key of HMAC-SHA-256 (RFC 2104, section 2), so that SQL needs only SHA256.

    Args:
        key: Secret; one of more than 64 bytes is hashed first.
    """
    secret = key.encode()
    if len(secret) > _SHA256_BLOCK_BYTES:
        secret = sha256(secret).digest()
    padded = secret.ljust(_SHA256_BLOCK_BYTES, b"\0")
    return bytes(byte ^ 0x36 for byte in padded), bytes(byte ^ 0x5C for byte in padded)
