"""The parameters of requests, most of them to REST routes: read, or refused with what came, and what is allowed. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..wire import encodings
from .words import choices

check_encoding = encodings.check
UTF_8, DECODE_ERRORS = encodings.PLAIN, encodings.HOW
NODE_MAX = 1 << 32
PID_MAX = 1 << 32
OFFSET_MAX = 1 << 62


def whole(given: Mapping[str, Any], name: str, least: int, most: int, default: int | None = None) -> int:
    """A whole number.

    Args:
        given: the parameters, as text, or of JSON.
        name: of this one.
        least, most: what is allowed.
        default: if it is not given; None: it must be.

    Raises:
        ValueError: it is missing, or none, or not within the limits.

    Example:
        >>> whole({"limit": "x"}, "limit", 1, 500)
        Traceback (most recent call last):
        ValueError: limit is a whole number from 1 to 500, not 'x'
    """
    value = given.get(name)
    if value is None or value == "":
        if default is None:
            raise ValueError(f"{name} is missing: a whole number, {_range(least, most)}")
        return default
    try:
        number = int(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or not least <= number <= most:
        raise ValueError(f"{name} is a whole number {_range(least, most)}, not {value!r}")
    return number


def _range(least: int, most: int) -> str:
    return f"from {least} to {most}" if most < 1 << 32 else f"of {least} or more"


def seconds(given: Mapping[str, str], name: str, most: float) -> float:
    """A time in seconds, 0 if it is not given, and at most so long. Raises as `whole` does."""
    value = given.get(name, "0")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name} is a number of seconds, 0 or more, not {value!r}")
    return min(number, most)


def yes(given: Mapping[str, str], name: str) -> bool:
    """Whether something is wanted; not, if that is not said. Raises as `whole` does."""
    value = given.get(name, "0")
    if value.lower() not in ("1", "true", "0", "false"):
        raise ValueError(f"{name} is 1 or true, 0 or false, not {value!r}")
    return value.lower() in ("1", "true")


def only(given: Iterable[str], allowed: Iterable[str]) -> None:
    """See that nothing else is given.

    Raises:
        ValueError: there is no such parameter.
    """
    known = tuple(allowed)
    for name in given:
        if name not in known:
            there = choices(name, known) if known else ": there are none"
            raise ValueError(f"there is no parameter {name!r} here{there}")


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object that is a request's body.

    Raises:
        ValueError: it is none.
    """
    try:
        found = json.loads(body)
    except ValueError as error:
        raise ValueError(f"the body is to be a JSON object, and is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"the body is to be a JSON object, not {type(found).__name__}")
    return found
