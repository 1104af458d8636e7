"""Parquet files with a column that tells their rows apart, the same at each reading: a hash of the file's path and of the row's
number in the file.

The number is that among all rows of the file. So nothing may be left out before rows are counted: filters come after.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from ..block import Block
from ..expressions import Expr
from ..hashing import hash_places
from .parquet import Parquet
from .source import Source

ROW_HASH = "row_hash"


class HashedParquet(Parquet):
    """Parquet files with the column "row_hash". One of this name in the files is not read."""

    def file_schema(self, path: str) -> pa.Schema:
        return _without(super().file_schema(path)).append(pa.field(ROW_HASH, pa.uint64()))

    def with_filter(self, predicate: Expr) -> Source | None:
        return None

    def _scan(self, fragment: Any, own: pa.Schema, path: str) -> Iterator[Block]:
        known = self.schema()
        assert known is not None and self._own_schema is not None
        stored = _without(self._own_schema)
        plain = copy.copy(self)
        plain.condition, plain._own_schema = None, stored
        needed = [name for name in known.names if name != ROW_HASH] or stored.names[:1]
        plain.columns = stored.names if self.condition is not None else needed
        row = _first_row(fragment)
        for block in Parquet._scan(plain, fragment, _without(own), path):
            hashes = pa.array(hash_places(path, row, block.num_rows))
            row += block.num_rows
            block = block.append_column(ROW_HASH, hashes)
            yield (block if self.condition is None else block.filter(self.condition)).select(known.names)


def _without(schema: pa.Schema) -> pa.Schema:
    at = schema.get_field_index(ROW_HASH)
    return schema if at < 0 else schema.remove(at)


def _first_row(fragment: Any) -> int:
    """The number of the first row of a part of a file."""
    first = min((group.id for group in fragment.row_groups), default=0)
    return sum(fragment.metadata.row_group(at).num_rows for at in range(first))
