"""What a forecast request says: JSON of at most 64 KB, checked strictly; every fault has a reason of its own."""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

LARGEST_BYTES = 64 * 1024
# As long as a concert's partition key may be.
_LONGEST_CONCERT_ID = 100
_LONGEST_REASON = 500


class RequestError(ValueError):
    """A message is no forecast request; the text says why."""


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ConcertRequest(_Request):
    """Forecast one concert now."""

    kind: Literal["concert"] = "concert"
    concert_id: str = Field(min_length=1, max_length=_LONGEST_CONCERT_ID)


class DailyRequest(_Request):
    """Make a business day: the whole job.

    Attributes:
        as_of_date: The day; None for the last one that was complete when the message was published.
        rerun: Make the day again although it was made.
    """

    kind: Literal["daily"] = "daily"
    as_of_date: date | None = None
    rerun: bool = False


Request = ConcertRequest | DailyRequest
_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="kind")])


def parse_request(data: bytes) -> Request:
    """Read a message.

    Raises:
        RequestError: It is too large, empty, no text, no JSON or not of the form.
    """
    if len(data) > LARGEST_BYTES:
        raise RequestError(f"too large: {len(data):,} bytes, at most {LARGEST_BYTES:,}")
    if not data.strip():
        raise RequestError('empty: expected JSON such as {"kind": "concert", "concert_id": "..."}')
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"not text: byte {error.start} is not UTF-8") from None
    try:
        return _REQUEST.validate_json(text)
    except ValidationError as error:
        raise RequestError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    """Every fault with its place, the way a reader of the message would name it."""
    faults = error.errors(include_url=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        return f"not JSON: {faults[0]['msg'].removeprefix('Invalid JSON: ')}"
    told = []
    for fault in faults:
        if fault["type"] in {"union_tag_not_found", "union_tag_invalid"}:
            given = fault.get("ctx", {}).get("tag")
            return f"not a forecast request: kind is {given or 'missing'}: expected concert or daily"[:_LONGEST_REASON]
        # The first part of a place is the kind.
        place = ".".join(str(part) for part in fault["loc"][1:])
        told.append(f"{place}: {fault['msg']}" if place else fault["msg"])
    return f"not a forecast request: {'; '.join(told)}"[:_LONGEST_REASON]
