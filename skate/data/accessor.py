"""`BlockAccessor`: a block as those know it who write their own sinks and sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from . import block as blocks
from .batches import check_format, from_batch, to_batch
from .block import Block


class BlockAccessor:
    """A block, and what it can be seen as.

    Example:
        >>> import pyarrow as pa
        >>> from skate.data.accessor import BlockAccessor
        >>> BlockAccessor.for_block(pa.table({"a": [1, 2]})).to_pandas()["a"].sum()
        np.int64(3)
    """

    def __init__(self, block: Block) -> None:
        self._block = block

    @staticmethod
    def for_block(block: Any) -> BlockAccessor:
        """Of an Arrow table, or a batch in any other format."""
        return BlockAccessor(from_batch(block))

    @staticmethod
    def batch_to_block(batch: Any) -> Block:
        """The block of a batch."""
        return from_batch(batch)

    def num_rows(self) -> int:
        """How many rows it has."""
        return int(self._block.num_rows)

    def size_bytes(self) -> int:
        """How many bytes it takes."""
        return int(self._block.nbytes)

    def schema(self) -> pa.Schema:
        """Its columns."""
        return self._block.schema

    def column_names(self) -> list[str]:
        """The names of its columns."""
        return list(self._block.column_names)

    def to_block(self) -> Block:
        """Itself."""
        return self._block

    def to_arrow(self) -> Block:
        """As an Arrow table, which it is."""
        return self._block

    def to_pandas(self) -> Any:
        """As a pandas frame."""
        return to_batch(self._block, "pandas")

    def to_numpy(self, columns: str | Sequence[str] | None = None) -> Any:
        """As a dict of arrays; with the name of one column, its array."""
        if isinstance(columns, str):
            return blocks.to_numpy(self._block.column(columns))
        return to_batch(self._block if columns is None else self._block.select(list(columns)), "numpy")

    def to_batch_format(self, batch_format: str | None) -> Any:
        """As a batch of this format."""
        return to_batch(self._block, check_format(batch_format))

    def iter_rows(self, public_row_format: bool = True) -> Iterator[dict[str, Any]]:
        """The rows, as dicts; in either case."""
        return iter(blocks.to_rows(self._block))

    def slice(self, start: int, end: int, copy: bool = False) -> Block:
        """Rows `start` to `end`."""
        piece = self._block.slice(start, end - start)
        return blocks.copied(piece) if copy else piece

    def select(self, columns: Sequence[str]) -> Block:
        """Some columns."""
        return self._block.select(list(columns))
