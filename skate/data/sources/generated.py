"""Sources that need nothing from outside: ranges, and values that are in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from .. import block as blocks
from ..block import Block, BlockMeta
from .source import NO_SCHEMA, ReadTask, Source

ROWS_AT_ONCE = 1 << 20


class Range(Source):
    """The integers from 0, as column "id"; or with a shape, arrays of that shape filled with them, as column "data"."""

    name = "Range"

    def __init__(self, rows: int, shape: tuple[int, ...] | None = None) -> None:
        self.rows = rows
        self.shape = shape

    def tasks(self, wanted: int) -> list[ReadTask]:
        parts = max(1, min(wanted, self.rows))
        cuts = [self.rows * at // parts for at in range(parts + 1)]
        each = self._row_bytes()
        return [
            ReadTask(partial(self._read, first, last), BlockMeta(last - first, (last - first) * each, self.schema()))
            for first, last in itertools.pairwise(cuts)
        ]

    def _row_bytes(self) -> int:
        return 8 * int(np.prod(self.shape or (1,)))

    def _read(self, first: int, last: int) -> Iterator[Block]:
        step = max(1, ROWS_AT_ONCE * 8 // self._row_bytes())
        for at in range(first, max(last, first + 1), step):
            ids = np.arange(at, min(at + step, last), dtype=np.int64)
            if self.shape is None:
                yield pa.table({"id": ids})
            else:
                tall = ids.reshape(-1, *(1,) * len(self.shape))
                yield blocks.from_columns({"data": np.broadcast_to(tall, (len(ids), *self.shape))})

    def schema(self) -> pa.Schema:
        if self.shape is None:
            return pa.schema([("id", pa.int64())])
        return blocks.from_columns({"data": np.empty((0, *self.shape), np.int64)}).schema

    def count(self) -> int:
        return self.rows

    def count_at_most(self) -> int:
        return self.rows

    def size_bytes(self) -> int:
        return self.rows * self._row_bytes()

    def with_columns(self, columns: Sequence[str]) -> Source | None:
        return self if list(columns) == self.schema().names else None

    def with_limit(self, rows: int) -> Source:
        return Range(min(rows, self.rows), self.shape)


class Items(Source):
    """Python values: rows as they are, everything else as column "item"."""

    name = "Items"

    def __init__(self, items: Sequence[object]) -> None:
        self.items = items

    def tasks(self, wanted: int) -> list[ReadTask]:
        count = len(self.items)
        parts = max(1, min(wanted, count))
        cuts = [count * at // parts for at in range(parts + 1)]
        return [
            ReadTask(
                partial(_read_items, self.items[first:last]), BlockMeta(last - first, (last - first) * 64, NO_SCHEMA)
            )
            for first, last in itertools.pairwise(cuts)
        ]

    @property
    def is_local(self) -> bool:
        return True

    def count(self) -> int:
        return len(self.items)

    def count_at_most(self) -> int:
        return len(self.items)

    def size_bytes(self) -> int:
        return len(self.items) * 64

    def with_limit(self, rows: int) -> Source:
        return Items(self.items[:rows])


def _read_items(items: Sequence[object]) -> Iterator[Block]:
    if all(isinstance(item, dict) for item in items):
        yield blocks.from_rows(items)  # type: ignore[arg-type]
    else:
        yield blocks.from_columns({"item": blocks.column(list(items))})
