"""Parses infra/ and fails on a reference to something that is not declared: what can be told without a provider."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import hcl2

_REFERENCES = {
    "variable": re.compile(r"\bvar\.(\w+)"),
    "local": re.compile(r"\blocal\.(\w+)"),
    "data": re.compile(r"\bdata\.(\w+\.\w+)"),
    "resource": re.compile(r"(?<![\w.\"/])((?:google|random)_\w+\.\w+)"),
}


def _declared(parsed: dict) -> Iterator[tuple[str, str]]:
    for kind in ("variable", "output"):
        for block in parsed.get(kind, []):
            yield from ((kind, name) for name in block)
    for block in parsed.get("locals", []):
        yield from (("local", name) for name in block)
    for kind in ("resource", "data", "ephemeral"):
        for block in parsed.get(kind, []):
            yield from ((kind, f"{type_}.{name}") for type_, named in block.items() for name in named)


def main(folder: Path) -> int:
    """Check one Terraform module; returns the exit code."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.tf"))}
    declared = set[tuple[str, str]]()
    for path, text in texts.items():
        try:
            declared |= set(_declared(hcl2.loads(text)))
        except Exception as error:  # noqa: BLE001 - the parser raises its grammar's own kinds
            print(f"{path} cannot be parsed: {error}")
            return 1
    unknown = [
        f"{path}: {kind} {name} is not declared"
        for path, text in texts.items()
        for kind, pattern in _REFERENCES.items()
        for name in sorted(set(pattern.findall(re.sub(r"(?m)#.*$", "", text))))
        if (kind, name) not in declared
    ]
    print("\n".join(unknown) or f"{len(texts)} files of {folder}: {len(declared)} declarations, no loose reference")
    return int(bool(unknown))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
