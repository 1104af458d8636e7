"""Batches: pieces of blocks as users want them, and what users give back as blocks.

A batch is a dict of numpy arrays, a pandas or Polars frame, or an Arrow table. A pandas batch has the types that pandas itself
would give its columns. Nothing is copied where the format allows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from . import block as blocks
from .block import Block
from .errors import check_names

FORMATS = ("numpy", "pandas", "pyarrow", "polars")
HINTS = {
    type(None): ": does the function return something in all cases?",
    np.ndarray: ': give it a name, as in {"name": array}',
    list: ': for rows that are dicts, use flat_map; for a column, give it a name, as in {"name": values}',
    tuple: ": to return several batches, yield them",
    Iterator: ": to return several batches, yield them",
}
"""What to do with what is no batch."""
_SAME = {None: "pyarrow", "default": "numpy", "arrow": "pyarrow"}


def check_format(name: str | None) -> str:
    """The name of a batch format as it is used inside.

    Raises:
        ValueError: there is no such format.
    """
    found = _SAME.get(name, name)
    if found not in FORMATS:
        raise ValueError(f"batch_format={name!r}: it must be one of {', '.join(map(repr, FORMATS))}, or None")
    assert found is not None
    return found


def to_batch(block: Block, batch_format: str, copies: bool = False) -> Any:
    """A block as a batch.

    Args:
        copies: it may be changed in place. Otherwise it may be a read-only view of the block.
    """
    if batch_format == "numpy":
        return {
            name: _own(blocks.to_numpy(values)) if copies else blocks.to_numpy(values)
            for name, values in zip(block.column_names, block.columns, strict=True)
        }
    if batch_format == "pandas":
        return _to_pandas(block).copy() if copies else _to_pandas(block)
    if batch_format == "polars":
        import polars

        return polars.from_arrow(_plain(block))
    return block


def _own(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values if values.flags.writeable else values.copy()


def _to_pandas(block: Block) -> Any:
    special = [field.name for field in block.schema if isinstance(field.type, blocks.OWN)]
    if not special:
        return block.to_pandas()
    frame = block.drop_columns(special).to_pandas()
    if len(special) == block.num_columns:
        frame = frame.reindex(range(block.num_rows))
    for name in special:
        frame.insert(block.column_names.index(name), name, blocks.array_of(blocks.to_values(block.column(name))))
    return frame


def _plain(block: Block) -> Block:
    """Without types that only skate knows."""
    for at, field in enumerate(block.schema):
        if isinstance(field.type, blocks.ObjectType):
            raise TypeError(f"column {field.name!r} has Python objects, which Polars cannot hold")
        if isinstance(field.type, pa.BaseExtensionType):
            storage = pa.chunked_array([chunk.storage for chunk in block.column(at).chunks], field.type.storage_type)
            block = block.set_column(at, field.name, storage)
    return block


def from_batch(batch: Any) -> Block:
    """What a user's function has returned as a block.

    Raises:
        TypeError: it is no batch.
        ValueError: its columns have different lengths, or two have the same name.
    """
    if isinstance(batch, pa.Table):
        return _distinct(batch)
    if isinstance(batch, pa.RecordBatch):
        return _distinct(pa.Table.from_batches([batch]))
    if isinstance(batch, Mapping):
        return blocks.from_columns(batch)
    kind = type(batch)
    root = kind.__module__.split(".")[0]
    if root == "pandas" and kind.__name__ == "DataFrame":
        return _from_pandas(batch)
    if root == "polars" and kind.__name__ == "DataFrame":
        table: Block = batch.to_arrow()
        return table
    raise TypeError(
        f"a batch must be a dict of arrays or lists, a pandas or Polars DataFrame or a pyarrow Table, not {kind.__name__}"
        f"{next((hint for some, hint in HINTS.items() if isinstance(batch, some)), '')}"
    )


def _distinct(block: Block) -> Block:
    check_names(block.column_names)
    return block


def _from_pandas(frame: Any) -> Block:
    check_names([str(name) for name in frame.columns])
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return blocks.from_columns({str(name): frame[name].to_numpy() for name in frame.columns})
    for at, name in enumerate(frame.columns):
        values = frame.iloc[:, at]
        if values.dtype == object and len(values) and isinstance(values.iloc[0], np.ndarray):
            table = table.set_column(at, str(name), blocks.column(values.to_numpy()))
    return table.replace_schema_metadata(None)


def rebatch(source: Iterable[Block], size: int | None, drop_last: bool = False) -> Iterator[Block]:
    """Blocks as blocks of `size` rows each; None leaves them as they are, but drops the empty ones."""
    if size is None:
        yield from (block for block in source if block.num_rows)
        return
    have: list[Block] = []
    count = 0
    for block in source:
        at = 0
        while block.num_rows - at >= size - count:
            have.append(block.slice(at, size - count))
            at += size - count
            yield blocks.concat(have)
            have, count = [], 0
        if at < block.num_rows:
            have.append(block.slice(at))
            count += block.num_rows - at
    if have and not drop_last:
        yield blocks.concat(have)
