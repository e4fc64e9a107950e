"""Single calls to Compute Engine, read right.

Each of these was tried: `ExtendedOperation.result()` polls the real host whatever the endpoint is, so operations are
polled here; an operation that failed may carry its error in `error.errors` alone; a repeated call is harmless with the
same `requestId`; an operation may be lost, so what it was to bring about is looked for as well.
"""

import time
import uuid
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

from google.api_core import exceptions as api
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.auth.exceptions import TransportError as AuthTransportError
from google.cloud import compute_v1
from requests import exceptions as http

from mmt_assets.gcp.compute_errors import ComputeError, error_of_codes

Answer = TypeVar("Answer")
# What a caller has an answer to of its own.
ANSWERED = (api.NotFound, api.BadRequest, api.PreconditionFailed)
_CALL_SECONDS = 30.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 2.0
# Looks at an operation for each look at what it is about.
_LOOK_EVERY = 3
_TOO_FAST = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})


def pauses() -> Callable[[], None]:
    """Sleeps between two looks at the same thing, each longer than the one before."""
    seconds = [_FIRST_PAUSE_SECONDS]

    def pause() -> None:
        time.sleep(seconds[0])
        seconds[0] = min(_LONGEST_PAUSE_SECONDS, seconds[0] * 1.5)

    return pause


class ComputeCalls:
    """Calls within one project.

    Attributes:
        project: Google Cloud project.
        patience: Seconds over which a call is repeated while the API does not answer.
        operation_seconds: Seconds that an operation may take.
    """

    def __init__(self, project: str, endpoint: str | None, patience: float, operation_seconds: float) -> None:
        """Nothing is opened and nobody logs in until the first call; see `ComputeEngine` for the arguments."""
        self.project = project
        self.patience = patience
        self.operation_seconds = operation_seconds
        self._options: dict[str, Any] = (
            {"client_options": {"api_endpoint": endpoint}, "credentials": AnonymousCredentials()} if endpoint else {}
        )

    @cached_property
    def instances(self) -> compute_v1.InstancesClient:
        """Google's client of instances."""
        return compute_v1.InstancesClient(**self._options)

    @cached_property
    def _operations(self) -> compute_v1.ZoneOperationsClient:
        return compute_v1.ZoneOperationsClient(**self._options)

    def get(self, zone: str, name: str) -> compute_v1.Instance:
        """An instance.

        Raises:
            google.api_core.exceptions.NotFound: There is none.
            ComputeError: The API did not answer.
        """
        return self.ask(f"looking at {zone}/{name}", self.instances.get, zone=zone, instance=name)

    def template(self, path: str) -> compute_v1.InstanceProperties:
        """Properties of an instance template, `[projects/P/](global|regions/R)/instanceTemplates/N`.

        Raises:
            ComputeError: There is none, or the API did not answer.
        """
        what = f"reading the instance template {path}"
        parts = path.split("/")
        at: dict[str, Any] = {"instance_template": parts[-1]}
        if "projects" in parts:
            at["project"] = parts[parts.index("projects") + 1]
        try:
            if "regions" in parts:
                client = compute_v1.RegionInstanceTemplatesClient(**self._options)
                return self.ask(what, client.get, region=parts[parts.index("regions") + 1], **at).properties
            return self.ask(what, compute_v1.InstanceTemplatesClient(**self._options).get, **at).properties
        except api.NotFound as error:
            raise ComputeError(f"{what}: there is none (MMT_VM_TEMPLATE): {error.message}") from error

    def ask(self, what: str, call: Callable[..., Any], *, patience: float | None = None, **request: Any) -> Any:
        """Send a call that only reads."""
        whole = {"project": self.project, **request}
        return self.repeat(what, lambda: call(request=whole, retry=None, timeout=_CALL_SECONDS), patience)

    def send(self, what: str, call: Callable[..., Any], zone: str, request: Mapping[str, Any]) -> compute_v1.Operation:
        """Send a call that changes something, with one request id over all its repetitions; its end is not awaited.

        Raises:
            CapacityError, QuotaError, ComputeError: It was refused, or failed at once.
        """
        whole = {"project": self.project, "zone": zone, "request_id": str(uuid.uuid4()), **request}
        operation = self.repeat(what, lambda: call(request=whole, retry=None, timeout=_CALL_SECONDS))
        if operation.status == compute_v1.Operation.Status.DONE:
            _raise_for(what, operation)
        return operation

    def change(
        self,
        what: str,
        call: Callable[..., Any],
        zone: str,
        name: str,
        request: Mapping[str, Any],
        has_come_about: Callable[[compute_v1.Instance], bool],
    ) -> None:
        """Send a call about an instance and see it through.

        Args:
            what: What it does, for messages.
            call: Method of Google's client that returns a plain operation (`*_unary`).
            zone: Zone.
            name: Instance.
            request: Fields of the request beside project, zone and request id.
            has_come_about: Whether the instance is as it was asked for: that counts, whatever becomes of the operation.

        Raises:
            CapacityError, QuotaError, ComputeError: It failed, or nothing came of it in time.
            google.api_core.exceptions.PreconditionFailed: A fingerprint is out of date.
        """
        operation = self.send(what, call, zone, request)
        number, deadline, pause, looks = operation.name, time.monotonic() + self.operation_seconds, pauses(), 0
        while operation.status != compute_v1.Operation.Status.DONE:
            pause()
            looks += 1
            told = f"is not done after {self.operation_seconds:g} s"
            try:
                operation = self.ask(what, self._operations.get, zone=zone, operation=number)
            except api.NotFound:
                told = "is not known any more"
            if looks % _LOOK_EVERY == 0 and self._is(zone, name, has_come_about):
                return
            if time.monotonic() > deadline:
                raise ComputeError(f"{what}: operation {number} {told}, and nothing came of it")
        _raise_for(what, operation)

    def _is(self, zone: str, name: str, condition: Callable[[compute_v1.Instance], bool]) -> bool:
        try:
            return condition(self.get(zone, name))
        except api.NotFound:
            return False

    def repeat(self, what: str, call: Callable[[], Answer], patience: float | None = None) -> Answer:
        """Repeat a call while the API does not answer.

        Raises:
            CapacityError, QuotaError, ComputeError: The API refused, or did not answer over the whole patience.
            google.api_core.exceptions.NotFound, BadRequest, PreconditionFailed: What the caller answers to.
        """
        seconds = patience or self.patience
        retry = Retry(predicate=_is_transient, initial=0.2, maximum=5.0, timeout=seconds)
        try:
            return retry(call)()
        except ANSWERED:
            raise
        except api.RetryError as error:
            raise ComputeError(f"{what}: no answer over {seconds:g} s: {error.cause}") from error
        except api.GoogleAPICallError as error:
            codes = [str(detail.get("reason")) for detail in error.errors if detail.get("reason")]
            raise error_of_codes(what, codes or [str(error.code)], str(error.message)) from error
        except (http.RequestException, GoogleAuthError) as error:
            raise ComputeError(f"{what}: {error}") from error


def _is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed in a moment."""
    if isinstance(error, api.Forbidden):
        return any(detail.get("reason") in _TOO_FAST for detail in error.errors)
    return isinstance(
        error, (api.TooManyRequests, api.ServerError, http.ConnectionError, http.Timeout, AuthTransportError)
    )


def _raise_for(what: str, operation: compute_v1.Operation) -> None:
    """Raise what an operation that is done says went wrong; `error.errors` may be all that says so."""
    errors = list(operation.error.errors)
    if errors:
        raise error_of_codes(what, [error.code for error in errors], "; ".join(error.message for error in errors))
    if operation.http_error_status_code:
        raise error_of_codes(what, [str(operation.http_error_status_code)], operation.http_error_message)
