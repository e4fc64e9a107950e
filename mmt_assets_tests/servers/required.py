"""What to do without a program that tests need: skip by name, or fail where it is required."""

import os
from typing import NoReturn

import pytest

_TRUE = ("1", "true", "yes")


def emulators_are_required() -> bool:
    """Whether a missing emulator is a failure: as MMT_REQUIRE_EMULATORS says; unset, wherever CI=true is set."""
    asked = os.environ.get("MMT_REQUIRE_EMULATORS") or os.environ.get("CI", "")
    return asked.lower() in _TRUE


def missing(program: str, how_to_install: str) -> NoReturn:
    """Skip this test, or fail it where emulators are required; the message says how to get the program."""
    told = f"{program} is not installed: {how_to_install}"
    if emulators_are_required():
        pytest.fail(f"{told} (required by MMT_REQUIRE_EMULATORS or CI)", pytrace=False)
    pytest.skip(told)
