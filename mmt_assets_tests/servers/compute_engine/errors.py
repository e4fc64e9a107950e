"""Answers of the API that are not successes, in its own shape."""

from typing import Any


class ApiError(Exception):
    """An HTTP error with the body that Compute Engine sends.

    Attributes:
        code: HTTP status.
        reason: Reason, such as `notFound`.
    """

    def __init__(self, code: int, message: str, reason: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason

    def body(self) -> dict[str, Any]:
        detail = {"message": str(self), "domain": "global", "reason": self.reason}
        return {"error": {"code": self.code, "message": str(self), "errors": [detail]}}


def invalid(field: str, value: object, rule: str) -> ApiError:
    return ApiError(400, f"Invalid value for field '{field}': '{value}'. {rule}", "invalid")


def not_found(resource: str) -> ApiError:
    return ApiError(404, f"The resource '{resource}' was not found", "notFound")


def not_ready(resource: str) -> ApiError:
    return ApiError(400, f"The resource '{resource}' is not ready", "resourceNotReady")


def precondition(message: str) -> ApiError:
    return ApiError(412, message, "conditionNotMet")
