"""Aggregations: one row for each key.

Each says which partial results it needs of a block, how those of several blocks are merged, and what the result is; `engine.py`
carries them out. All partial results are columns. Where the values themselves are needed (quantiles, lists, distinct values),
they are columns of lists.
"""

from __future__ import annotations

from .base import AggregateFn, AggregateFnV2, VectorizedAggregateFnV2
from .engine import Aggregation
from .lists import ApproximateQuantile, ApproximateTopK, AsList, CountDistinct, Quantile, Unique, ValueCounter
from .simple import AbsMax, Count, Max, Mean, Min, MissingValuePercentage, Std, Sum, ZeroPercentage

__all__ = [
    "AbsMax",
    "AggregateFn",
    "AggregateFnV2",
    "Aggregation",
    "ApproximateQuantile",
    "ApproximateTopK",
    "AsList",
    "Count",
    "CountDistinct",
    "Max",
    "Mean",
    "Min",
    "MissingValuePercentage",
    "Quantile",
    "Std",
    "Sum",
    "Unique",
    "ValueCounter",
    "VectorizedAggregateFnV2",
    "ZeroPercentage",
]
