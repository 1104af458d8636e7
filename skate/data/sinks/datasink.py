"""Targets that users write: Ray's `Datasink`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cloudpickle
import pyarrow as pa

from ..block import Block, Least


@dataclass
class WriteResult:
    """What a write has done: rows and bytes of all tasks, and what `write` has returned in each."""

    num_rows: int
    size_bytes: int
    write_returns: list[Any]


@dataclass(frozen=True)
class TaskContext:
    """What `Datasink.write` knows of its task."""

    task_idx: int
    op_name: str = "Write"


class Datasink:
    """A target that a user writes. `write` has to be there; it runs in tasks, and may run again if a worker dies."""

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        """Before the first task, in the calling process. `schema`: the columns; None: they are not known before."""

    def write(self, blocks: Iterator[Any], ctx: TaskContext) -> Any:
        """Write blocks, tables of Arrow. What it returns comes to `on_write_complete`."""
        raise NotImplementedError(f"{type(self).__name__} needs a method write(blocks, ctx)")

    def on_write_complete(self, write_result: WriteResult) -> None:
        """After the last task, in the calling process."""

    def on_write_failed(self, error: Exception) -> None:
        """The write has failed, in the calling process."""

    def get_name(self) -> str:
        """What it is called in plans."""
        return type(self).__name__.removesuffix("Datasink")

    @property
    def supports_distributed_writes(self) -> bool:
        """Whether several tasks may write at once, on any node."""
        return True

    @property
    def min_rows_per_write(self) -> int | None:
        """So many rows go into a task, if there are as many; None: a block does."""
        return None


class UserSink:
    """A datasink as a sink."""

    def __init__(self, datasink: Datasink) -> None:
        if not callable(getattr(datasink, "write", None)):
            raise TypeError(f"{type(datasink).__name__} is no Datasink: it has no method write")
        self.datasink = datasink
        self.name = datasink.get_name()
        self.least = Least(datasink.min_rows_per_write or 0)

    def start(self, schema: pa.Schema | None) -> bool:
        """Tell it."""
        self.datasink.on_write_start(schema)
        return True

    def write(self, source: Iterator[Block], task: int) -> Iterator[Block]:
        """Give it the blocks."""
        rows = size = 0

        def counted() -> Iterator[Block]:
            nonlocal rows, size
            for block in source:
                if block.num_rows:
                    rows += block.num_rows
                    size += block.nbytes
                    yield block

        returned = self.datasink.write(counted(), TaskContext(task))
        columns = {"rows": [rows], "bytes": [size], "returned": [cloudpickle.dumps(returned)]}
        yield pa.table({**columns, "returned": pa.array(columns["returned"], pa.large_binary())})

    def commit(self, written: Block) -> None:
        """Tell it what its tasks have returned."""
        rows, sizes, returned = (written.column(name).to_pylist() for name in ("rows", "bytes", "returned"))
        found = [cloudpickle.loads(each) for each in returned]
        self.datasink.on_write_complete(WriteResult(sum(rows), sum(sizes), found))

    def abort(self, error: BaseException) -> None:
        """Tell it why."""
        if isinstance(error, Exception):
            self.datasink.on_write_failed(error)
