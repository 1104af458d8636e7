"""Sources that need nothing from outside: ranges, and values that are in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from .. import block as blocks
from ..block import Block, BlockMeta
from .source import ReadTask, Source, shown

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
    """Python values: rows as they are, everything else as column "item".

    They become a table at once: so their columns are known before anything runs, and have one type in all blocks.
    """

    name = "Items"

    def __init__(self, rows: Block, columns: Sequence[str] | None = None) -> None:
        self.rows = rows
        self.columns = columns
        """Of more than these, only these are taken; None: all."""

    @classmethod
    def of(cls, items: Sequence[object]) -> Items:
        """The source of these values.

        Raises:
            TypeError: the name of a column is no string.
            ValueError: all rows are dicts without any key.
        """
        if not all(isinstance(item, dict) for item in items):
            return cls(blocks.from_columns({"item": blocks.column(list(items))}))
        rows = blocks.from_rows(items)  # type: ignore[arg-type]
        if items and not rows.num_columns:
            raise ValueError("from_items: the rows have no column: there would be nothing to count them by")
        return cls(rows)

    def tasks(self, wanted: int) -> list[ReadTask]:
        count = self.rows.num_rows
        parts = max(1, min(wanted, count))
        cuts = [count * at // parts for at in range(parts + 1)]
        pieces = [self.rows.slice(first, last - first) for first, last in itertools.pairwise(cuts)]
        return [ReadTask(partial(_give, blocks.compact(piece)), blocks.meta_of(piece)) for piece in pieces]

    @property
    def is_local(self) -> bool:
        return True

    def schema(self) -> pa.Schema | None:
        return self.rows.schema if self.rows.num_columns else None

    def count(self) -> int:
        return int(self.rows.num_rows)

    def count_at_most(self) -> int:
        return self.count()

    def size_bytes(self) -> int:
        return int(self.rows.nbytes)

    def left_out(self) -> list[str]:
        return [] if self.columns is None else [f"columns={shown(self.columns)}"]

    def with_columns(self, columns: Sequence[str]) -> Source | None:
        return Items(self.rows.select(columns), columns) if columns else None

    def with_limit(self, rows: int) -> Source:
        return Items(self.rows.slice(0, rows), self.columns)


def _give(block: Block) -> Iterator[Block]:
    yield block
