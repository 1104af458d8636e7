"""One page of a table: rows that contain a text, in an order, from a place on.

Pure. The browser has never more than it shows; sorting and searching are done here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

PAGE_ROWS_MAX = 500

Row = dict[str, Any]


def page(rows: list[Row], text: str = "", sort: str = "", offset: int = 0, limit: int = 100) -> tuple[list[Row], int]:
    """A part of the rows, and how many there are that contain the text.

    Args:
        rows: all of them.
        text: words that must all be in a row, in any column; case does not matter.
        sort: the column to sort by, after a "-" from large to small; "": as they come. Rows without a value come last.
        offset, limit: which of them; not more than `PAGE_ROWS_MAX`.

    Example:
        >>> page([{"a": 1}, {"a": None}, {"a": 3}], sort="-a", limit=2)
        ([{'a': 3}, {'a': 1}], 3)
    """
    words = text.casefold().split()
    found = [row for row in rows if _has(row, words)] if words else rows
    if sort:
        found = _sorted(found, sort.removeprefix("-"), sort.startswith("-"))
    offset = max(0, offset)
    return found[offset : offset + max(0, min(limit, PAGE_ROWS_MAX))], len(found)


def _has(row: Row, words: list[str]) -> bool:
    text = "\x00".join(_texts(row.values())).casefold()
    return all(word in text for word in words)


def _texts(values: Iterable[Any]) -> Iterable[str]:
    return (str(value) for value in values if value is not None)


def _sorted(rows: list[Row], column: str, reverse: bool) -> list[Row]:
    known = [row for row in rows if row.get(column) not in (None, "")]
    unknown = [row for row in rows if row.get(column) in (None, "")]
    return [*sorted(known, key=lambda row: _key(row[column]), reverse=reverse), *unknown]


def _key(value: Any) -> tuple[int, float, str]:
    """Numbers before texts, so that a column may have both."""
    if isinstance(value, (int, float)):
        return 0, float(value), ""
    return 1, 0.0, str(value).casefold()
