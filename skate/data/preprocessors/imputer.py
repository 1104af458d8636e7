"""Values in place of those that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..aggregate import Mean, ValueCounter
from ..compute import pc
from ..expressions import Column, Expr
from ..preprocessor import Apply, Columns

if TYPE_CHECKING:
    from ..dataset import Dataset


class SimpleImputer(Columns):
    """A value in place of nulls and NaN.

    Args:
        strategy: "mean"; "most_frequent": the value that comes most often; "constant".
        fill_value: with "constant", the value.

    Example:
        >>> import skate.data
        >>> from skate.data.preprocessors import SimpleImputer
        >>> ds = skate.data.from_items([{"x": 1.0}, {"x": None}, {"x": 3.0}])
        >>> [row["x"] for row in SimpleImputer(["x"]).fit_transform(ds).take_all()]
        [1.0, 2.0, 3.0]
    """

    def __init__(
        self,
        columns: Sequence[str],
        strategy: str = "mean",
        fill_value: Any = None,
        *,
        output_columns: Sequence[str] | None = None,
    ) -> None:
        super().__init__(columns, output_columns)
        if strategy not in ("mean", "most_frequent", "constant"):
            raise ValueError(f'strategy={strategy!r}: it must be "mean", "most_frequent" or "constant"')
        if (strategy == "constant") != (fill_value is not None):
            raise ValueError('SimpleImputer: fill_value goes with strategy="constant"')
        self.strategy = strategy
        self.fill_value = fill_value
        self._is_fittable = strategy != "constant"

    def _fit(self, dataset: Dataset) -> None:
        valid = dataset.with_columns({name: Apply(_without_nan, Column(name)) for name in self.columns})
        if self.strategy == "mean":
            self.stats_ = valid.aggregate(*map(Mean, self.columns))
            return
        counters = [ValueCounter(name) for name in self.columns]
        found = valid.aggregate(*counters)
        self.stats_ = {
            f"most_frequent({name})": _most_frequent(found[each.name])
            for name, each in zip(self.columns, counters, strict=True)
        }

    def _column(self, name: str) -> Expr:
        value = self.fill_value if self.strategy == "constant" else self.stats_[f"{self.strategy}({name})"]
        if value is None:
            raise ValueError(f"SimpleImputer: column {name!r} had no value to learn from")
        return Apply(partial(_filled, value), Column(name))


def _without_nan(values: pa.Array) -> pa.Array:
    """With nulls in place of NaN."""
    if not pa.types.is_floating(values.type):
        return values
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


def _filled(value: Any, values: pa.Array) -> pa.Array:
    scalar = pa.scalar(value)
    whole = pa.types.is_integer(values.type) and pa.types.is_floating(scalar.type)
    kind = scalar.type if pa.types.is_null(values.type) or whole else values.type
    return pc.fill_null(_without_nan(values.cast(kind)), scalar.cast(kind))


def _most_frequent(counted: Any) -> Any:
    pairs = [pair for pair in zip(counted["values"], counted["counts"], strict=True) if pair[0] is not None]
    return max(pairs, key=lambda pair: pair[1])[0] if pairs else None
