"""Which rows of a list are wanted: conditions such as `state=FAILED` and `name!=f`.

Pure. Rows are dicts of plain data; values are compared as text, without regard to case.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Filter = tuple[str, str, Any]
"""(key, "=" or "!=", value), as Ray has them."""
EQUAL, UNEQUAL = "=", "!="


def parse(text: str) -> Filter:
    """A condition as it is written on a command line.

    Raises:
        ValueError: it is none.

    Example:
        >>> parse("name!=f")
        ('name', '!=', 'f')
    """
    key, equals, value = text.partition("=")
    operator = UNEQUAL if key.endswith("!") else EQUAL
    key = key.rstrip("!").strip()
    if not equals or not key:
        raise ValueError(f"{text!r} is not KEY=VALUE or KEY!=VALUE")
    return key, operator, value.strip()


def check(filters: Iterable[Filter] | None, keys: Sequence[str]) -> list[Filter]:
    """The conditions, if they are about these keys.

    Raises:
        ValueError: one is not; the message names the keys.
    """
    found = []
    for each in filters or ():
        key, operator, value = each
        if key not in keys:
            raise ValueError(f"there is no {key!r} to filter by; there are {', '.join(keys)}")
        if operator not in (EQUAL, UNEQUAL):
            raise ValueError(f"a filter is (key, '=' or '!=', value), not {each!r}")
        found.append((key, operator, value))
    return found


def meets(row: dict[str, Any], filters: Iterable[Filter]) -> bool:
    """Whether a row is wanted; conditions about what it does not have are left aside.

    Example:
        >>> meets({"state": "FAILED"}, [("state", "=", "failed"), ("name", "=", "f")])
        True
    """
    return all(
        (_text(row[key]) == _text(value)) == (operator == EQUAL) for key, operator, value in filters if key in row
    )


def only(filters: Iterable[Filter], key: str) -> Any:
    """The value that a key must have, or None."""
    return next((value for name, operator, value in filters if name == key and operator == EQUAL), None)


def _text(value: Any) -> str:
    return "" if value is None else str(value).casefold()
