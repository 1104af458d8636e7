"""Expressions that make values of nothing, or of the world outside: random numbers, identifiers, the bytes of files.

What they make depends on where in the dataset a row is: the number of the task, and of the row in it. Nothing moves past them
in a plan, so that both are as the user wrote it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from .block import Block
from .expr import Expr, as_column
from .functions import HERE

ROW_BITS = 33
"""Of an identifier: the number of the row in its task. The task's is above."""
DOWNLOADS_AT_ONCE = 16


class Generator(Expr):
    """Makes other values when it is computed elsewhere."""

    @property
    def pure(self) -> bool:
        return False

    def __str__(self) -> str:
        return f"{type(self).__name__.lower()}()"


class Random(Generator):
    """Random numbers, from 0 up to 1.

    Args:
        seed: of the numbers; None: another for each block.
        reseed: each execution has its own sequence.
    """

    def __init__(self, seed: int | None, reseed: bool, execution: int = 0) -> None:
        self.seed = seed
        self.reseed = reseed
        self.execution = execution
        self._executions = 0

    def started(self) -> Expr:
        if self.reseed:
            self._executions += 1
        return Random(self.seed, self.reseed, self._executions)

    def evaluate(self, block: Block) -> Any:
        seed = None if self.seed is None else (self.seed, self.execution, HERE.task, HERE.row)
        return pa.chunked_array([pa.array(np.random.default_rng(seed).random(block.num_rows))])


class Uuid(Generator):
    """Random UUIDs as text."""

    def evaluate(self, block: Block) -> Any:
        return pa.chunked_array([pa.array([str(uuid.uuid4()) for _ in range(block.num_rows)], pa.string())])


class MonotonicallyIncreasingId(Generator):
    """The number of the task, and of the row in it."""

    def evaluate(self, block: Block) -> Any:
        first = (HERE.task << ROW_BITS) + HERE.row
        return pa.chunked_array([pa.array(np.arange(first, first + block.num_rows, dtype=np.int64))])

    def __str__(self) -> str:
        return "monotonically_increasing_id()"


class Download(Generator):
    """The bytes of files.

    Args:
        uri: their names.
        filesystem: where they are; None: by their names.
    """

    def __init__(self, uri: Expr, filesystem: Any) -> None:
        self.uri = uri
        self.filesystem = filesystem

    def children(self) -> Sequence[Expr]:
        return (self.uri,)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return Download(children[0], self.filesystem)

    def evaluate(self, block: Block) -> Any:
        names = as_column(self.uri.evaluate(block), block.num_rows).to_pylist()
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
            return pa.chunked_array([pa.array(list(pool.map(self._read, names)), pa.large_binary())])

    def _read(self, name: str | None) -> bytes | None:
        from .storage import open_file

        if name is None:
            return None
        with open_file(name, self.filesystem, None) as file:
            found: bytes = file.read()
        return found

    def __str__(self) -> str:
        return f"download({self.uri})"
