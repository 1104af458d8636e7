"""Columns as keys: that they are there, and that equal values are equal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from .block import Block
from .compute import pc
from .errors import no_column


def check_columns(block: Block, names: Iterable[str]) -> None:
    """Raise an error if a column is not there.

    Raises:
        ColumnNotFoundError: one is not.
    """
    for name in names:
        if name not in block.column_names:
            raise no_column(name, block.column_names)


def normal_keys(block: Block, keys: Sequence[str]) -> Block:
    """Keys as Arrow compares them: there is one zero and one NaN, and no dictionaries."""
    check_columns(block, keys)
    for key in keys:
        at = block.schema.get_field_index(key)
        values = block.column(at)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if pa.types.is_floating(values.type):
            values = pc.if_else(
                pc.is_nan(values), pa.scalar(float("nan"), values.type), pc.add(values, pa.scalar(0, values.type))
            )
        if values is not block.column(at):
            block = block.set_column(at, key, values)
    return block
