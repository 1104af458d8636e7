"""Aggregations in Polars' words: those of which every bit is the same, but for the order in which floats are added."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ..aggregate.base import Arrow
from ..aggregate.simple import Count, Max, Mean, Min, Std, Sum
from .types import Refused, dtype_of, is_float, is_integer

NARROW_BITS = 32
"""Sums of narrower whole numbers fit into 64 bits."""


def say(aggregate: Any, columns: pa.Schema) -> Any:
    """An aggregation over columns, for Polars.

    Raises:
        Refused: it cannot be said with the same meaning.
    """
    import polars as pl

    if type(aggregate) is Count:
        name = aggregate.on if aggregate.ignore_nulls else None
        found = pl.len() if name is None else pl.col(name).count()
        return found.cast(pl.Int64).alias(aggregate.name)
    if not isinstance(aggregate, Arrow) or not aggregate.ignore_nulls or aggregate.on is None:
        raise Refused(aggregate.name)
    kind = columns.field(aggregate.on).type
    dtype_of(kind)
    values = pl.col(aggregate.on)
    if type(aggregate) in (Min, Max):
        if not _has_ends(kind):
            raise Refused(f"the ends of {kind}")
        found = values.min() if type(aggregate) is Min else values.max()
    elif not is_float(kind) and not is_integer(kind):
        raise Refused(f"numbers of {kind}")
    elif type(aggregate) is Sum:
        found = pl.when(values.count() > 0).then(_sum(values, kind))
    elif type(aggregate) is Mean:
        found = _floats(values, kind).mean()
    elif type(aggregate) is Std:
        found = _floats(values, kind).std(aggregate.ddof)
    else:
        raise Refused(aggregate.name)
    return found.alias(aggregate.name)


def _has_ends(kind: pa.DataType) -> bool:
    return is_float(kind) or is_integer(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind)


def _floats(values: Any, kind: pa.DataType) -> Any:
    import polars as pl

    return values if kind == pa.float64() else values.cast(pl.Float64)


def _sum(values: Any, kind: pa.DataType) -> Any:
    """A sum. One that does not fit fails here, and then the way that says so is taken."""
    import polars as pl

    if is_float(kind):
        return _floats(values, kind).sum()
    if pa.types.is_unsigned_integer(kind):
        raise Refused("sums without a sign")
    if kind.bit_width <= NARROW_BITS:
        return values.cast(pl.Int64).sum()
    return values.cast(pl.Int128).sum().cast(pl.Int64)
