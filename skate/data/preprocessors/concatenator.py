"""Several columns of numbers as one of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from .. import block as blocks
from ..errors import no_column
from ..expressions import Column, Expr
from ..preprocessor import Apply, Preprocessor


class Concatenator(Preprocessor):
    """Columns of numbers side by side, as one column of arrays. They are left out then.

    Args:
        columns: in this order.
        output_column_name: of the new one.
        dtype: numpy's type of the arrays; None: the one that holds all.
        raise_if_missing: a column that is not there is an error; False: it is left out.
        flatten: columns may also be of arrays, all of whose values are taken.

    Example:
        >>> import skate.data
        >>> from skate.data.preprocessors import Concatenator
        >>> ds = skate.data.from_items([{"a": 1, "b": 0.5}, {"a": 2, "b": 1.5}])
        >>> Concatenator(["a", "b"]).transform(ds).take_batch()["concat_out"].tolist()
        [[1.0, 0.5], [2.0, 1.5]]
    """

    _is_fittable = False
    _looks_at_names = True

    def __init__(
        self,
        columns: Sequence[str],
        output_column_name: str = "concat_out",
        dtype: Any = None,
        raise_if_missing: bool = False,
        flatten: bool = False,
    ) -> None:
        self.columns = list(columns)
        self.output_column_name = output_column_name
        self.output_columns = [output_column_name]
        self.dtype = None if dtype is None else np.dtype(dtype)
        self.raise_if_missing = raise_if_missing
        self.flatten = flatten

    def _made(self, names: Sequence[str]) -> tuple[Mapping[str, Expr], Sequence[str]]:
        there = [name for name in self.columns if name in names]
        missing = [name for name in self.columns if name not in names]
        if missing and (self.raise_if_missing or not there):
            raise no_column(missing[0], names)
        made = Apply(partial(_side_by_side, self.dtype, self.flatten), *map(Column, there))
        return {self.output_column_name: made}, [name for name in there if name != self.output_column_name]


def _side_by_side(dtype: Any, flatten: bool, *columns: pa.Array) -> Any:
    arrays = []
    for values in columns:
        whole = pa.types.is_integer(values.type) or pa.types.is_boolean(values.type)
        if (
            whole and values.null_count and (dtype is None or dtype.kind not in "fc")
        ):  # other blocks would have other types
            raise ValueError(
                "Concatenator: a column has nulls: fill them before, with SimpleImputer, or say dtype=float"
            )
        array = blocks.to_numpy(pa.chunked_array([values]))
        if array.dtype == object and flatten and len(array):
            array = np.stack([np.asarray(each) for each in array])
        if array.ndim > 1 and not flatten:
            raise TypeError("Concatenator: a column has arrays: say flatten=True to take all of their values")
        arrays.append(array.reshape(len(array), -1) if len(array) else array.reshape(0, 1))
    together = np.concatenate(arrays, axis=1)
    return together if dtype is None else together.astype(dtype)
