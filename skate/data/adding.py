"""What `add_column` gives to `map_batches`: the batch with a column of what a user's function makes of it.

The function returns a value for each row, in whatever array its library has, or one for all. A series of pandas beside a frame of
pandas is put beside its rows by its index, as pandas does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from . import block as blocks

VALUES = (str, bytes, Mapping)
"""What has a length, and is one value."""


class Adds:
    """A function of batches.

    Args:
        name: of the column.
        fn: makes its values of a batch.
    """

    def __init__(self, name: str, fn: Callable[..., Any]) -> None:
        self.column = name
        self.fn = fn
        self.__name__ = f"add_column({name})"

    def __call__(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        values = self.fn(batch, *args, **kwargs)
        rows = len(next(iter(batch.values()), ())) if isinstance(batch, dict) else len(batch)
        library = type(batch).__module__.split(".")[0]
        several = _is_column(values)
        by_index = library == "pandas" and type(values).__module__.startswith("pandas")
        if several and len(values) != rows and not by_index:
            raise ValueError(
                f"column {self.column!r}: the function must return a value for each of {rows} rows, or one for all, "
                f"not {len(values)} values"
            )
        if isinstance(batch, dict):
            return {**batch, self.column: values if several else np.full(rows, values)}
        if library == "pandas":
            return batch.assign(**{self.column: values})
        if library == "polars":
            return _with_polars(batch, self.column, values, several)
        return _with_arrow(batch, self.column, values, several)


def _is_column(values: Any) -> bool:
    """Whether it is many values, and not one."""
    if isinstance(values, np.ndarray):
        return values.ndim > 0
    return hasattr(values, "__len__") and not isinstance(values, (*VALUES, pa.Scalar))


def _with_polars(frame: Any, name: str, values: Any, several: bool) -> Any:
    import polars

    if several and not isinstance(values, polars.Series):
        values = polars.Series(name, values)
    made = values if isinstance(values, (polars.Series, polars.Expr)) else polars.lit(values)
    return frame.with_columns(made.alias(name))


def _with_arrow(table: pa.Table, name: str, values: Any, several: bool) -> pa.Table:
    made = blocks.column(values) if several else pa.repeat(pa.scalar(values), table.num_rows)
    at = table.schema.get_field_index(name)
    return table.append_column(name, made) if at < 0 else table.set_column(at, name, made)
