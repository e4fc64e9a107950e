"""The one place where SQL is put together: literal templates, filled with fragments that are trusted by type.

Values never come here: they travel as bound parameters. What is filled in are names from contracts and other
fragments, and `Fragment` can only be had from the functions below, so a type checker sees a plain string.
"""

import re
from collections.abc import Iterable
from typing import LiteralString, NewType

Fragment = NewType("Fragment", str)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no SQL name: letters, digits and underscores only")
    return name


def column(name: str, *, of: str = "") -> Fragment:
    """A quoted GoogleSQL column, `of` a table or alias if given.

    Raises:
        ValueError: A name holds anything but ASCII letters, digits and underscores.
    """
    owner = f"{_checked(of)}." if of else ""
    return Fragment(f"{owner}`{_checked(name)}`")


def columns(names: Iterable[str], *, of: str = "") -> Fragment:
    """Quoted columns, separated by commas."""
    return join(", ", (column(name, of=of) for name in names))


def table(name: str) -> Fragment:
    """A table as `name` or `schema.name`.

    Raises:
        ValueError: A part holds anything but ASCII letters, digits and underscores.
    """
    return Fragment(".".join(_checked(part) for part in name.split(".")))


def parameter(name: str) -> Fragment:
    """A named parameter, `@name`."""
    return Fragment(f"@{_checked(name)}")


def join(separator: LiteralString, fragments: Iterable[Fragment]) -> Fragment:
    """Fragments in a row."""
    return Fragment(separator.join(fragments))


def compose(template: LiteralString, **fragments: Fragment) -> Fragment:
    """Fill the `{name}` places of a literal template."""
    return Fragment(template.format_map(fragments))
