"""The paths of the API below `/compute/v1/projects/PROJECT/`."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmt_assets_tests.servers.compute_engine import rules
from mmt_assets_tests.servers.compute_engine.errors import ApiError, invalid, not_found, precondition
from mmt_assets_tests.servers.compute_engine.faults import HTTP_ERRORS, http_error
from mmt_assets_tests.servers.compute_engine.filters import parse_filter
from mmt_assets_tests.servers.compute_engine.project import Change, Project

Answer = dict[str, Any]
_WAIT_POLL_SECONDS = 0.02
_MAX_RESULTS, _DEFAULT_RESULTS = 500, 500


@dataclass
class Request:
    """One call: its project, the parts of its path, its query and its body."""

    project: Project
    path: dict[str, str]
    query: dict[str, str]
    body: dict[str, Any]

    @property
    def zone(self) -> str:
        return self.path["zone"]

    @property
    def name(self) -> str:
        return self.path["name"]


@dataclass(frozen=True)
class Route:
    """One method of the API.

    Attributes:
        call: Its name, as faults and the history have it.
        method: HTTP method.
        path: Pattern of the path below the project.
        answer: What answers it, under the project's lock unless it `waits`.
        waits: Whether it takes time and takes the lock by itself.
        is_change: Whether it is a change, which looks for its faults itself.
    """

    call: str
    method: str
    path: re.Pattern[str]
    answer: Callable[[Request], Answer]
    waits: bool = False
    is_change: bool = False


def _get(request: Request) -> Answer:
    return request.project.instance(request.zone, request.name).resource()


def _change(call: str, prepare: Callable[[Request], Change]) -> Callable[[Request], Answer]:
    def answer(request: Request) -> Answer:
        name = request.path.get("name") or str(request.body.get("name"))
        operation = request.project.change(
            call, request.zone, name, request.query.get("requestId"), lambda: prepare(request)
        )
        return operation.resource()

    return answer


def _insert(request: Request) -> Change:
    return request.project.insert(request.zone, request.body, request.query.get("sourceInstanceTemplate"))


def _set_labels(request: Request) -> Change:
    instance = request.project.instance(request.zone, request.name)
    if request.body.get("labelFingerprint") != rules.fingerprint(instance.labels):
        raise precondition("Labels fingerprint either invalid or resource labels have changed")
    labels = rules.check_labels(request.body.get("labels") or {})
    return lambda _: setattr(instance, "labels", labels), lambda: True


def _set_metadata(request: Request) -> Change:
    instance = request.project.instance(request.zone, request.name)
    if request.body.get("fingerprint") != rules.fingerprint(instance.metadata):
        raise precondition("Supplied fingerprint does not match current metadata fingerprint.")
    metadata = rules.check_metadata(request.body.get("items") or [])
    return lambda _: setattr(instance, "metadata", metadata), lambda: True


def _set_scheduling(request: Request) -> Change:
    instance = request.project.instance(request.zone, request.name)
    if instance.status != "TERMINATED":
        raise ApiError(400, "Instance must be stopped to update its scheduling", "invalidUsage")
    scheduling = rules.check_scheduling({**instance.scheduling, **request.body})
    return lambda _: setattr(instance, "scheduling", scheduling), lambda: True


def _guest_attributes(request: Request) -> Answer:
    instance = request.project.instance(request.zone, request.name)
    query = request.query.get("queryPath", "")
    items = [
        {"namespace": path.partition("/")[0], "key": path.partition("/")[2], "value": value}
        for path, value in instance.guest_attributes.items()
        if path == query or path.startswith(f"{query.rstrip('/')}/") or not query
    ]
    if not items or not instance.has_guest_attributes:
        raise not_found(f"{instance.path}/guestAttributes/{query}")
    return {"kind": "compute#guestAttributes", "queryPath": query, "queryValue": {"items": items}}


def _serial_port(request: Request) -> Answer:
    instance = request.project.instance(request.zone, request.name)
    if instance.status not in ("RUNNING", "STOPPING"):
        raise ApiError(400, f"The resource '{instance.path}' is not ready", "resourceNotReady")
    printed, start = instance.disk.serial.read_bytes(), int(request.query.get("start", 0))
    # A negative start counts from the end; a port keeps the last megabyte.
    first = max(len(printed) + start if start < 0 else start, len(printed) - 2**20, 0)
    contents = printed[first:].decode(errors="replace")
    link = {"kind": "compute#serialPortOutput", "selfLink": f"{request.project.base}/serialPort"}
    return {**link, "contents": contents, "start": str(first), "next": str(len(printed))}


def _matching(request: Request, resources: list[Answer]) -> list[Answer]:
    if not (text := request.query.get("filter")):
        return resources
    keep = parse_filter(text)
    return [resource for resource in resources if keep(resource)]


def _page(request: Request, items: list[Answer]) -> tuple[list[Answer], Answer]:
    """One page of a list, and the token of the next if there is one."""
    size = int(request.query.get("maxResults", _DEFAULT_RESULTS))
    if not 0 <= size <= _MAX_RESULTS:
        raise invalid("maxResults", size, f"Must be from 0 to {_MAX_RESULTS}")
    token = request.query.get("pageToken", "0")
    if not token.isdigit():
        raise invalid("pageToken", token, "The page token is not of this list.")
    first, last = int(token), int(token) + (size or _DEFAULT_RESULTS)
    return items[first:last], {"nextPageToken": str(last)} if last < len(items) else {}


def _instances(request: Request, zone: str | None) -> list[Answer]:
    found = [
        instance.resource()
        for (place, _), instance in sorted(request.project.instances.items())
        if zone in (None, place)
    ]
    return _matching(request, found)


def _list(request: Request) -> Answer:
    items, token = _page(request, _instances(request, request.zone))
    return {"kind": "compute#instanceList", "id": "list", "items": items, **token}


def _aggregated_list(request: Request) -> Answer:
    items, token = _page(request, _instances(request, None))
    zones = {f"zones/{zone}" for zone, _ in request.project.instances}
    by_zone: dict[str, Answer] = {
        zone: {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": f"There are no results for scope '{zone}'."}}
        for zone in sorted(zones)
    }
    for item in items:
        scope = by_zone[f"zones/{item['zone'].rpartition('/')[2]}"]
        scope.pop("warning", None)
        scope.setdefault("instances", []).append(item)
    return {"kind": "compute#instanceAggregatedList", "id": "list", "items": by_zone, **token}


def _operation(request: Request) -> Answer:
    scope, name = request.path["scope"], request.path["operation"]
    # By name or by number, as in the API.
    for operation in request.project.operations.values():
        if operation.scope == scope and name in (operation.name, operation.number):
            return operation.resource()
    raise not_found(f"projects/{request.project.name}/{scope}/operations/{name}")


def _wait(request: Request) -> Answer:
    deadline = time.monotonic() + request.project.pace.wait_seconds
    while True:
        with request.project.lock:
            answer = _operation(request)
        if answer["status"] == "DONE" or time.monotonic() >= deadline:
            return answer
        time.sleep(_WAIT_POLL_SECONDS)


def _operations(request: Request) -> Answer:
    scope = request.path["scope"]
    of_scope = [operation.resource() for operation in request.project.operations.values() if operation.scope == scope]
    items, token = _page(request, _matching(request, of_scope))
    return {"kind": "compute#operationList", "id": "list", "items": items, **token}


def _template(request: Request) -> Answer:
    return request.project.template(f"{request.path['scope']}/instanceTemplates/{request.name}")


def _add_template(request: Request) -> Answer:
    return request.project.add_template(request.path["scope"], request.body).resource()


def _routes() -> list[Route]:
    instances = r"zones/(?P<zone>[^/]+)/instances"
    instance = rf"{instances}/(?P<name>[^/]+)"
    operations = r"(?P<scope>zones/[^/]+|regions/[^/]+|global)/operations"
    templates = r"(?P<scope>regions/[^/]+|global)/instanceTemplates"

    def route(call: str, method: str, path: str, answer: Callable[[Request], Answer], **options: bool) -> Route:
        return Route(call, method, re.compile(path), answer, **options)

    def change(call: str, method: str, path: str, prepare: Callable[[Request], Change]) -> Route:
        return route(call, method, path, _change(call, prepare), is_change=True)

    return [
        route("list", "GET", instances, _list),
        change("insert", "POST", instances, _insert),
        route("get", "GET", instance, _get),
        change("delete", "DELETE", instance, lambda r: r.project.delete(r.zone, r.name)),
        change("start", "POST", f"{instance}/start", lambda r: r.project.start(r.zone, r.name)),
        change("stop", "POST", f"{instance}/stop", lambda r: r.project.stop(r.zone, r.name)),
        change("setLabels", "POST", f"{instance}/setLabels", _set_labels),
        change("setMetadata", "POST", f"{instance}/setMetadata", _set_metadata),
        change("setScheduling", "POST", f"{instance}/setScheduling", _set_scheduling),
        route("getGuestAttributes", "GET", f"{instance}/getGuestAttributes", _guest_attributes),
        route("serialPort", "GET", f"{instance}/serialPort", _serial_port),
        route("aggregatedList", "GET", "aggregated/instances", _aggregated_list),
        route("operations.list", "GET", operations, _operations),
        route("operations.get", "GET", rf"{operations}/(?P<operation>[^/]+)", _operation),
        route("operations.wait", "POST", rf"{operations}/(?P<operation>[^/]+)/wait", _wait, waits=True),
        route("templates.get", "GET", rf"{templates}/(?P<name>[^/]+)", _template),
        route("templates.insert", "POST", templates, _add_template),
    ]


ROUTES = _routes()


def answer(project: Project, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
    """Answer one call and record it.

    Raises:
        ApiError: The API refuses, or a fault says so.
    """
    for route in ROUTES:
        match = route.path.fullmatch(path)
        if match and route.method == method:
            request = Request(project, match.groupdict(), query, body)
            return _recorded(route, request)
    raise ApiError(404, f"There is no {method} {path} here", "notFound")


def _recorded(route: Route, request: Request) -> Answer:
    project, zone = request.project, request.path.get("zone")
    name = request.path.get("name") or request.body.get("name")
    facts: dict[str, Any] = {"method": route.call, "zone": zone, "instance": name}
    with project.lock:
        hang = project.faults.take(route.call, zone, name, is_hang=True)
        fault = None if route.is_change else project.faults.take(route.call, zone, name)
    if hang:
        time.sleep(hang.seconds)
    try:
        if fault and fault.fault in HTTP_ERRORS:
            raise http_error(fault, name)
        if route.waits:
            told = route.answer(request)
        else:
            with project.lock:
                told = route.answer(request)
    except ApiError as error:
        with project.lock:
            project.history.record("call", **facts, status=error.code, reason=error.reason)
        raise
    with project.lock:
        project.history.record("call", **facts, status=200, operation=told.get("name") if route.is_change else None)
    return told
