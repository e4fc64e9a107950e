"""The `filter` parameter of list calls: comparisons joined by AND, OR, NOT and parentheses, and older `eq`, `ne`."""

import re
from collections.abc import Callable
from typing import Any

from mmt_assets_tests.servers.compute_engine.errors import invalid

Resource = dict[str, Any]
Test = Callable[[Resource], bool]
_TOKEN = re.compile(r'\s*(\(|\)|!=|=|:|"(?:[^"\\]|\\.)*"|[^\s()=!:"]+)')


def parse_filter(text: str) -> Test:
    """Which resources a filter lets through.

    Raises:
        ApiError: 400, the filter cannot be read.
    """
    tokens = [match[1] for match in _TOKEN.finditer(text)]
    if "".join(tokens) != re.sub(r'\s+(?=(?:[^"]*"[^"]*")*[^"]*$)', "", text):
        raise invalid("filter", text, "Invalid list filter expression.")
    reader = _Reader(text, tokens)
    test = reader.disjunction()
    if reader.tokens:
        raise invalid("filter", text, "Invalid list filter expression.")
    return test


class _Reader:
    def __init__(self, text: str, tokens: list[str]) -> None:
        self.text = text
        self.tokens = tokens

    def disjunction(self) -> Test:
        tests = [self.conjunction()]
        while self.tokens and self.tokens[0] == "OR":
            self.take()
            tests.append(self.conjunction())
        return lambda resource: any(test(resource) for test in tests)

    def conjunction(self) -> Test:
        tests = [self.term()]
        # Terms that merely stand side by side are joined by AND.
        while self.tokens and self.tokens[0] not in (")", "OR"):
            if self.tokens[0] == "AND":
                self.take()
            tests.append(self.term())
        return lambda resource: all(test(resource) for test in tests)

    def term(self) -> Test:
        token = self.take()
        if token == "NOT":  # noqa: S105 - a word of the filter's language
            negated = self.term()
            return lambda resource: not negated(resource)
        if token == "(":  # noqa: S105 - as above
            test = self.disjunction()
            if self.take() != ")":
                raise invalid("filter", self.text, "Invalid list filter expression.")
            return test
        return _comparison(token, self.take(), self.take().strip('"'), self.text)

    def take(self) -> str:
        if not self.tokens:
            raise invalid("filter", self.text, "Invalid list filter expression.")
        return self.tokens.pop(0)


def _comparison(field: str, operator: str, value: str, text: str) -> Test:
    path = field.split(".")
    if operator == ":":
        if value == "*":
            return lambda resource: _value(resource, path) is not None
        return lambda resource: value.lower() in (_value(resource, path) or "").lower()
    pattern = re.escape(value).replace(r"\*", ".*") if operator in ("=", "!=") else value
    if operator not in ("=", "!=", "eq", "ne"):
        raise invalid("filter", text, "Invalid list filter expression.")
    wanted = operator in ("=", "eq")
    return lambda resource: bool(re.fullmatch(pattern, _value(resource, path) or "")) is wanted


def _value(resource: Resource, path: list[str]) -> str | None:
    found: Any = resource
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, bool):
        return str(found).lower()
    return None if found is None else str(found)
