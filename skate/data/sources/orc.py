"""ORC files, read by Arrow one stripe at a time, and only the columns that are needed.

The columns are those of the first file if only some are read; one that a file lacks is null there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.orc as orc

from ..block import Block
from .files import FileSource
from .source import Source


class ORC(FileSource):
    """ORC files."""

    name = "ORC"
    growth = 3.0
    lets_others_run = True

    def file_schema(self, path: str) -> pa.Schema:
        with self.where.open(path) as raw:
            return _opened(path, raw).schema

    def count(self) -> int | None:
        total = 0
        for file in self.where.found:
            with self.where.open(file.path) as raw:
                total += int(_opened(file.path, raw).nrows)
        return total

    def with_columns(self, columns: Sequence[str]) -> Source | None:
        known = self.schema()
        return self._select(columns) if known is not None and set(columns) <= set(known.names) else None

    def read_file(self, path: str) -> Iterator[Block]:
        with self.where.open(path) as raw:
            file = _opened(path, raw)
            wanted = self.own_columns(self.where.extras(path))
            there = None if wanted is None else [name for name in wanted if name in file.schema.names]
            if there == []:
                there = file.schema.names[:1]  # for the number of rows
            for stripe in range(file.nstripes):
                yield self._filled(pa.Table.from_batches([file.read_stripe(stripe, there)]), wanted)
            if not file.nstripes:
                yield self._filled(file.schema.empty_table(), wanted)

    def _filled(self, block: Block, wanted: Sequence[str] | None) -> Block:
        """The block with nulls in the columns that its file does not have."""
        for name in wanted or ():
            if name not in block.column_names:
                assert self._own_schema is not None  # else nobody could have chosen columns
                block = block.append_column(name, pa.nulls(block.num_rows, self._own_schema.field(name).type))
        return block


def _opened(path: str, raw: Any) -> Any:
    """A file whose footer has been read.

    Raises:
        ValueError: it is no ORC file.
    """
    try:
        return orc.ORCFile(raw)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: it cannot be read as ORC: {error}") from None
