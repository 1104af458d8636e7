"""The columns of a dataset, as users see them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


class Schema:
    """Names and types of columns.

    Example:
        >>> import skate.data
        >>> schema = skate.data.range(3).schema()
        >>> schema.names, schema.types
        (['id'], [DataType(int64)])
    """

    def __init__(self, base_schema: pa.Schema) -> None:
        self.base_schema = base_schema.remove_metadata()
        """As Arrow has it."""

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.base_schema.names)

    @property
    def types(self) -> list[Any]:
        """Arrow's types of the columns."""
        return list(self.base_schema.types)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and bool(self.base_schema.equals(other.base_schema))

    def __hash__(self) -> int:
        return hash(self.base_schema)

    def __len__(self) -> int:
        return len(self.base_schema)

    def __repr__(self) -> str:
        rows = [("Column", "Type"), ("------", "----"), *((field.name, str(field.type)) for field in self.base_schema)]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name.ljust(width)}  {kind}" for name, kind in rows)


def short(schema: pa.Schema) -> str:
    """On one line, for the text of a dataset."""
    return "{" + ", ".join(f"{field.name}: {field.type}" for field in schema) + "}"
