"""Which types of columns mean the same to Arrow and to Polars."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pyarrow as pa

UNITS = ("ms", "us", "ns")


class Refused(Exception):
    """Something is not said to Polars: it would mean something else there, or nobody has made sure that it does not."""


@cache
def failures() -> tuple[type[BaseException], ...]:
    """What may come of saying something to Polars: it raises errors of Python's, too, and its panic is none of them."""
    import polars as pl

    return Exception, pl.exceptions.PanicException


@cache
def _plain() -> Mapping[pa.DataType, Any]:
    import polars as pl

    return {
        pa.int8(): pl.Int8,
        pa.int16(): pl.Int16,
        pa.int32(): pl.Int32,
        pa.int64(): pl.Int64,
        pa.uint8(): pl.UInt8,
        pa.uint16(): pl.UInt16,
        pa.uint32(): pl.UInt32,
        pa.uint64(): pl.UInt64,
        pa.float32(): pl.Float32,
        pa.float64(): pl.Float64,
        pa.bool_(): pl.Boolean,
        pa.string(): pl.String,
        pa.large_string(): pl.String,
        pa.binary(): pl.Binary,
        pa.large_binary(): pl.Binary,
        pa.date32(): pl.Date,
    }


def dtype_of(kind: pa.DataType) -> Any:
    """The type of Polars for one of Arrow's.

    Raises:
        Refused: there is none with the same values.
    """
    import polars as pl

    found = _plain().get(kind)
    if found is not None:
        return found
    if pa.types.is_timestamp(kind) and kind.unit in UNITS:
        return pl.Datetime(kind.unit, kind.tz)
    if pa.types.is_duration(kind) and kind.unit in UNITS:
        return pl.Duration(kind.unit)
    raise Refused(f"columns of {kind}")


def is_float(kind: pa.DataType) -> bool:
    """Whether values may be NaN."""
    return bool(pa.types.is_floating(kind))


def is_integer(kind: pa.DataType) -> bool:
    """Whether values are whole numbers, with a sign or without."""
    return bool(pa.types.is_integer(kind))


def same(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether two types are one to Polars."""
    return bool(dtype_of(one) == dtype_of(other))
