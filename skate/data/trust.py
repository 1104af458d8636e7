"""Pickles in what others have made. Opening one runs code of whoever made it, so it takes the user's word.

Columns of any Python objects (`ObjectType`) are pickled. Those of a dataset are its own. But a file may have such a column, too:
one that a dataset has written, or one that somebody has made to run code where it is read. So whatever comes from outside is
looked at where it comes in, and nothing behind that has to know where a column is from.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from .block import ObjectType


def refuse_objects(schema: pa.Schema, where: str, remedy: str, names: Iterable[str] | None = None) -> None:
    """See that no column has pickled objects.

    Args:
        schema: of what comes in.
        where: what that is, for the error.
        remedy: what to do for who trusts whoever made it.
        names: the columns that are wanted; None: all.

    Raises:
        ValueError: one has.
    """
    wanted = set(schema.names if names is None else names)
    for field in schema:
        if field.name in wanted and _has_objects(field.type):
            raise ValueError(
                f"{where}: column {field.name!r} has pickled Python objects, and opening them runs code of whoever made it. If "
                f"you trust them, {remedy}; or leave the column out"
            )


def _has_objects(kind: pa.DataType) -> bool:
    if isinstance(kind, ObjectType):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return _has_objects(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _has_objects(kind.value_type)
    return any(_has_objects(kind.field(at).type) for at in range(kind.num_fields))
