"""Columns as keys: that they are there, that equal values are equal, and what is said of those that cannot be keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from .block import Block, ObjectType, to_values
from .compute import pc
from .errors import no_column

MIXED = 2
"""So many types are said of a column that has several."""
VALUE_CHARACTERS = 40
OBJECTS = str(ObjectType().extension_name)


def check_columns(block: Block, names: Iterable[str]) -> None:
    """Raise an error if a column is not there.

    Raises:
        ColumnNotFoundError: one is not.
    """
    known = set(block.column_names)
    for name in names:
        if name not in known:
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


def told(values: pa.ChunkedArray | pa.Scalar) -> str:
    """What a column or a value has, for errors. Of values of several types it says two, and in which rows they are."""
    if not isinstance(values.type, ObjectType):
        return str(values.type)
    found: dict[str, tuple[int, object]] = {}
    for row, value in enumerate(to_values(values)):
        if value is not None:
            found.setdefault(type(value).__name__, (row, value))
        if len(found) == MIXED:
            break
    said = [f"{kind} (row {row}: {_short(value)})" for kind, (row, value) in found.items()]
    if len(said) < MIXED:
        return f"Python objects, {', '.join(said) or 'of which there is none'}, for which Arrow has no type"
    return f"values of different types, {' and '.join(said)}"


def why(error: Exception) -> str:
    """What Arrow says, as the end of a sentence; nothing if it speaks of a type that only skate knows."""
    message = str(error).splitlines()[0]
    return "" if OBJECTS in message else f": {message}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= VALUE_CHARACTERS else f"{text[:VALUE_CHARACTERS]}..."


def no_order(block: Block, keys: Sequence[str], files: Sequence[str]) -> TypeError:
    """The error for keys of which one has no order.

    Args:
        files: where the rows come from, as far as that is known.
    """
    wrong = next((key for key in keys if not _has_order(block.schema.field(key).type)), keys[0])
    where = f", from {', '.join(files[:3])}" if files else ""
    return TypeError(
        f"cannot sort by column {wrong!r} ({told(block.column(wrong))}){where}. "
        "Make a column of numbers, text or times of it, by map or with_column, and sort by that."
    )


def _has_order(kind: pa.DataType) -> bool:
    try:
        pc.sort_indices(pa.chunked_array([], kind))
    except (pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return False
    return True
