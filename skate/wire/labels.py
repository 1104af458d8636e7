"""What a request says about the labels of its node. It travels as one more resource, of which a ten-thousandth is wanted.

A wish is a list of alternatives, the first that some node can meet counts. Each is a list of conditions that all must hold. The
name of that resource is `labels:` and the wish as JSON, so whatever carries amounts, and shows what waits, needs to know nothing
of labels; `head/policy.py` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar

import msgspec

PREFIX = "labels:"
AMOUNT = 0.0001
"""One unit: it must be more than nothing, or it would be left out."""
IN = "in"
NOT_IN = "!in"
EXISTS = "exists"
MISSING = "!exists"
WISHES_MAX = 1024
"""How many wishes are kept in their parsed form."""

Condition = tuple[str, str, list[str]]
"""A label's name, what is asked of it, and the values that this is about."""
Wish = list[list[Condition]]
Number = TypeVar("Number", int, float)

_decode = msgspec.json.Decoder(Wish).decode


def name_of(wish: Wish) -> str:
    """The name of the resource that stands for a wish."""
    return PREFIX + msgspec.json.encode(wish).decode()


def request_for(wish: Wish) -> dict[str, float]:
    """What stands for a wish in a request."""
    return {name_of(wish): AMOUNT}


@lru_cache(WISHES_MAX)
def wish_of(name: str) -> Wish:
    """The wish that a name stands for."""
    return _decode(name.removeprefix(PREFIX))


def in_request(request: Mapping[str, Number]) -> str:
    """The name that stands for the wish of a request, or ""."""
    return next((name for name in request if name.startswith(PREFIX)), "")


def without(request: Mapping[str, Number]) -> dict[str, Number]:
    """Only the resources of a request."""
    return {name: amount for name, amount in request.items() if not name.startswith(PREFIX)}


def meets(labels: Mapping[str, str], conditions: list[Condition]) -> bool:
    """Whether a node with these labels meets all conditions. A label that it does not have is unlike every value."""
    return all(_holds(labels.get(name), kind, values) for name, kind, values in conditions)


def _holds(value: str | None, kind: str, values: list[str]) -> bool:
    if kind in (EXISTS, MISSING):
        return (value is not None) == (kind == EXISTS)
    return (value in values) == (kind == IN)


def describe(request: Mapping[str, float]) -> str:
    """A request in words."""
    parts = [f"{amount:.12g} {name}" for name, amount in without(request).items()]
    name = in_request(request)
    if name:
        parts.append("a node with " + " or else ".join(map(_describe, wish_of(name))))
    return ", ".join(parts) or "nothing"


def _describe(conditions: list[Condition]) -> str:
    words = [
        f"{name} {kind}" if kind in (EXISTS, MISSING) else f"{name} {kind} ({', '.join(values)})"
        for name, kind, values in conditions
    ]
    return "labels {" + "; ".join(words) + "}" if words else "any labels"
