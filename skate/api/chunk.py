"""What a worker runs for `map`: the function, on several items in one task.

A worker imports this module without the rest of `api/`'s machinery, and interns it as one function per mapped
function.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import starmap
from typing import Any, NamedTuple


class ChunkResult(NamedTuple):
    """The results of a chunk, up to the first item that failed.

    Attributes:
        values: the results.
        seconds: how long the function took for all of them.
        error: the packed error of the item after them, or None.
    """

    values: list[Any]
    seconds: float
    error: bytes | None


class ChunkFunction:
    """`function` over several items.

    Called with `(width, *flat)`, the arguments lie flat, so that references among them are resolved as in a plain
    call; with `(0, items)` each item is the only argument; with `(-1, rows)` each row is a tuple of arguments.
    """

    def __init__(self, function: Callable[..., Any], name: str, whole: bool) -> None:
        self.function = function
        self.__name__ = self.__qualname__ = name
        self.__doc__ = getattr(function, "__doc__", None)
        self.per_item = 0.0
        """Seconds that an item took last time, as the caller knows it."""
        self.whole = whole
        """An error fails the whole chunk, so that the task is retried as its options say."""

    def __call__(self, width: int, *flat: Any) -> ChunkResult:
        function = self.function
        values: list[Any] = []
        start = time.perf_counter()
        try:  # what came before an error stays in the list
            if width in (0, 1):
                values.extend(map(function, flat if width else flat[0]))
            else:
                values.extend(starmap(function, flat[0] if width < 0 else _rows(flat, width)))
        except Exception as error:
            if self.whole:
                raise
            return ChunkResult(values, time.perf_counter() - start, _pack(error, self.__name__))
        return ChunkResult(values, time.perf_counter() - start, None)

    def __reduce__(self) -> tuple[Any, ...]:
        return ChunkFunction, (self.function, self.__name__, self.whole)


def _rows(flat: tuple[Any, ...], width: int) -> list[tuple[Any, ...]]:
    return [flat[i : i + width] for i in range(0, len(flat), width)]


def _pack(error: Exception, name: str) -> bytes:
    import os

    from ..client import current
    from ..client.errors import pack_error

    task_id = current.runtime.context().task_id if current.runtime is not None else ""
    return pack_error(error, function_name=name, pid=os.getpid(), task_id=task_id)
