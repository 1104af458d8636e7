"""Sources that users write: Ray's `Datasource` and `ReadTask`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from ..batches import from_batch
from ..block import Block, BlockMeta
from .source import NO_SCHEMA, ReadTask as Part, Source


@dataclass
class BlockMetadata:
    """What is known of a block before it is read. None: it is not known."""

    num_rows: int | None = None
    size_bytes: int | None = None
    exec_stats: Any = None
    task_exec_stats: Any = None
    input_files: Iterable[str] | None = None


class ReadTask:
    """A part of a datasource: calling it gives its blocks, tables of Arrow or pandas.

    Args:
        read_fn: gives the blocks.
        metadata: what is known of them.
        schema: their columns, if they are known.
        per_task_row_limit: no more rows than these.
    """

    def __init__(
        self,
        read_fn: Callable[[], Iterable[Any]],
        metadata: BlockMetadata,
        schema: Any = None,
        per_task_row_limit: int | None = None,
    ) -> None:
        self.read_fn = read_fn
        self.metadata = metadata
        self.schema = schema
        self.per_task_row_limit = per_task_row_limit

    def __call__(self) -> Iterable[Any]:
        left = self.per_task_row_limit
        for block in self.read_fn():
            if left is not None:
                if left <= 0:
                    return
                block = block[:left]
                left -= len(block)
            yield block


class Datasource:
    """A source of rows that a user writes. `get_read_tasks` has to be there."""

    def get_name(self) -> str:
        """What it is called in plans."""
        return type(self).__name__.removesuffix("Datasource")

    def estimate_inmemory_data_size(self) -> int | None:
        """About how many bytes all blocks will take; None: that is not known."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """The parts, about `parallelism` of them."""
        raise NotImplementedError(f"{type(self).__name__} needs a method get_read_tasks(parallelism)")


class UserSource(Source):
    """The rows of a datasource."""

    def __init__(self, datasource: Datasource) -> None:
        if not callable(getattr(datasource, "get_read_tasks", None)):
            raise TypeError(f"{type(datasource).__name__} is no Datasource: it has no method get_read_tasks")
        self.datasource = datasource
        self.name = datasource.get_name()

    def size_bytes(self) -> int | None:
        return self.datasource.estimate_inmemory_data_size()

    def tasks(self, wanted: int) -> list[Part]:
        return [Part(partial(_read, task), _meta(task)) for task in self.datasource.get_read_tasks(wanted)]


def _meta(task: ReadTask) -> BlockMeta:
    known = task.metadata
    rows = -1 if known.num_rows is None or task.per_task_row_limit is not None else known.num_rows
    schema = task.schema if isinstance(task.schema, pa.Schema) else NO_SCHEMA
    return BlockMeta(rows, known.size_bytes or 0, schema, tuple(known.input_files or ()))


def _read(task: ReadTask) -> Iterator[Block]:
    for batch in task():
        yield from_batch(batch)
