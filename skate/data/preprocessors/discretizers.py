"""Numbers as the number of the interval that they are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..aggregate import Max, Min
from ..expressions import Column, Expr
from ..preprocessor import Apply, Columns

if TYPE_CHECKING:
    from ..dataset import Dataset

SPREAD = 0.001
"""By this part of the range, intervals of one width begin before the smallest value, or end after the largest one."""


class Discretizer(Columns):
    """What both have in common.

    Args:
        bins: of which intervals, or this by column.
        right: an interval has its right end, and not its left one; False: the other way round.
        include_lowest: the first one has its left end, too.
        duplicates: "raise" or "drop", for edges that come twice.
        dtypes: by column, an integer type of numpy's, or a `CategoricalDtype` whose categories are the names of the intervals.
    """

    def __init__(
        self,
        columns: Sequence[str],
        bins: Any,
        right: bool,
        include_lowest: bool,
        duplicates: str,
        dtypes: Mapping[str, Any] | None,
        output_columns: Sequence[str] | None,
    ) -> None:
        super().__init__(columns, output_columns)
        if duplicates not in ("raise", "drop"):
            raise ValueError(f'duplicates={duplicates!r}: it must be "raise" or "drop"')
        self.right, self.include_lowest, self.duplicates = right, include_lowest, duplicates
        self.dtypes = self._by_column("dtypes", dtypes)
        self.bins = bins
        if isinstance(bins, Mapping) and set(bins) != set(self.columns):
            raise ValueError(
                f"bins has {', '.join(map(str, bins))}: it must have the columns {', '.join(self.columns)}"
            )

    def _edges(self, name: str) -> Any:
        """Where the intervals of a column begin and end."""
        raise NotImplementedError

    def _column(self, name: str) -> Expr:
        how = {"right": self.right, "include_lowest": self.include_lowest, "duplicates": self.duplicates}
        return Apply(partial(_cut, self._edges(name), self.dtypes.get(name), how), Column(name))


def _cut(edges: Any, dtype: Any, how: Mapping[str, Any], values: pa.Array) -> pa.Array:
    import pandas

    labels = getattr(dtype, "categories", None)  # of a CategoricalDtype
    if pa.types.is_null(values.type):
        values = values.cast(pa.float64())
    found: Any = pandas.cut(values.to_pandas(), edges, labels=False if labels is None else labels, **how)
    if labels is not None:
        return pa.array(found, from_pandas=True)
    codes = found.cat.codes if hasattr(found, "cat") else found
    codes = np.asarray(codes, dtype=np.float64)
    missing = np.isnan(codes) | (codes < 0)
    kind = pa.int64() if dtype is None else pa.from_numpy_dtype(np.dtype(dtype))
    return pa.array(np.where(missing, 0, codes).astype(np.int64), mask=missing).cast(kind)


class CustomKBinsDiscretizer(Discretizer):
    """The number of the interval between given edges; null outside of all.

    Args:
        bins: the edges, or a `pandas.IntervalIndex`; or these by column.

    Example:
        >>> import skate.data
        >>> from skate.data.preprocessors import CustomKBinsDiscretizer
        >>> ds = skate.data.from_items([{"x": 0.5}, {"x": 2}, {"x": 9}])
        >>> [row["x"] for row in CustomKBinsDiscretizer(["x"], bins=[0, 1, 4]).transform(ds).take_all()]
        [0, 1, None]
    """

    _is_fittable = False

    def __init__(
        self,
        columns: Sequence[str],
        bins: Any,
        *,
        right: bool = True,
        include_lowest: bool = False,
        duplicates: str = "raise",
        dtypes: Mapping[str, Any] | None = None,
        output_columns: Sequence[str] | None = None,
    ) -> None:
        super().__init__(columns, bins, right, include_lowest, duplicates, dtypes, output_columns)

    def _edges(self, name: str) -> Any:
        found = self.bins[name] if isinstance(self.bins, Mapping) else self.bins
        return found if hasattr(found, "closed") else list(found)


class UniformKBinsDiscretizer(Discretizer):
    """The number of the interval, of some of one width from the smallest to the largest value; null outside of all.

    Args:
        bins: how many there are, or this by column.
    """

    def __init__(
        self,
        columns: Sequence[str],
        bins: int | Mapping[str, int],
        *,
        right: bool = True,
        include_lowest: bool = False,
        duplicates: str = "raise",
        dtypes: Mapping[str, Any] | None = None,
        output_columns: Sequence[str] | None = None,
    ) -> None:
        super().__init__(columns, bins, right, include_lowest, duplicates, dtypes, output_columns)

    def _fit(self, dataset: Dataset) -> None:
        found = dataset.aggregate(*(each for name in self.columns for each in (Min(name), Max(name))))
        self.stats_ = {}
        for name in self.columns:
            low, high = found[f"min({name})"], found[f"max({name})"]
            if low is None:
                raise ValueError(f"{type(self).__name__}: column {name!r} has no values to learn from")
            low, high = float(low), float(high)
            count = self.bins[name] if isinstance(self.bins, Mapping) else self.bins
            more = (high - low) * SPREAD if high != low else abs(low) * SPREAD or SPREAD
            edges = (
                np.linspace(low, high, count + 1) if high != low else np.linspace(low - more, high + more, count + 1)
            )
            edges[0 if self.right else -1] += -more if self.right else more
            self.stats_[name] = edges

    def _edges(self, name: str) -> Any:
        return self.stats_[name]
