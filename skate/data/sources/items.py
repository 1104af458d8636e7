"""Sources that are objects of other libraries: items by index, items to iterate over, and tables to iterate over."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

from .. import block as blocks
from ..batches import from_batch
from ..block import Block, BlockMeta
from ..trust import refuse_objects
from .source import NO_SCHEMA, ReadTask, Source

ROWS_AT_ONCE = 1024
ITEM_BYTES = 1024
"""About what an item takes, as nobody knows."""


def _block(items: list[Any]) -> Block:
    return blocks.from_columns({"item": blocks.column(items)})


class Indexed(Source):
    """Objects with a length and an index."""

    name = "Torch"

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def tasks(self, wanted: int) -> list[ReadTask]:
        count = len(self.dataset)
        parts = max(1, min(wanted, count))
        cuts = [count * at // parts for at in range(parts + 1)]
        return [
            ReadTask(partial(self._read, first, last), BlockMeta(last - first, (last - first) * ITEM_BYTES, NO_SCHEMA))
            for first, last in itertools.pairwise(cuts)
        ]

    def _read(self, first: int, last: int) -> Iterator[Block]:
        for at in range(first, last, ROWS_AT_ONCE):
            yield _block([self.dataset[number] for number in range(at, min(at + ROWS_AT_ONCE, last))])

    def count(self) -> int:
        return len(self.dataset)

    def count_at_most(self) -> int:
        return len(self.dataset)


class Iterated(Source):
    """Objects to iterate over, in one task."""

    name = "Torch"

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def tasks(self, wanted: int) -> list[ReadTask]:
        return [ReadTask(self._read, BlockMeta(-1, 0, NO_SCHEMA))]

    def _read(self) -> Iterator[Block]:
        items = iter(self.dataset)
        while some := list(itertools.islice(items, ROWS_AT_ONCE)):
            yield _block(some)


class Tables(Source):
    """Objects whose `iter(batch_size)` gives Arrow tables, in one task."""

    name = "HuggingFace"

    def __init__(self, dataset: Any, rows: int) -> None:
        self.dataset = dataset
        self.rows = rows

    def tasks(self, wanted: int) -> list[ReadTask]:
        return [ReadTask(self._read, BlockMeta(-1, 0, NO_SCHEMA))]

    def _read(self) -> Iterator[Block]:
        for table in self.dataset.iter(batch_size=self.rows):
            refuse_objects(table.schema, "from_huggingface", "use from_arrow(..., allow_pickle=True)")
            yield from_batch(table)
