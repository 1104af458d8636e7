"""`DataType`: the type of a column, by names that do not depend on the library that has it."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from . import block as blocks, kernels

_OF_TIME = {"timestamp": pa.timestamp, "duration": pa.duration, "time32": pa.time32, "time64": pa.time64}
_OF_DAYS = {"date32": pa.date32, "date64": pa.date64}
_CATEGORIES = ("list", "large_list", "struct", "map", "tensor", "temporal", "null")


class DataType:
    """A type of Arrow's, of numpy's or of Python's.

    Args:
        value: the type.

    Example:
        >>> from skate.data.datatype import DataType
        >>> DataType.list(DataType.int32()), DataType.float64().is_numerical_type()
        (DataType(list<item: int32>), True)
    """

    def __init__(self, value: Any) -> None:
        if not isinstance(value, (pa.DataType, np.dtype, type)):
            raise TypeError(f"DataType: {value!r} is no type of Arrow's, of numpy's or of Python's")
        self._value = value

    # ------------------------------------------------------------ from others

    @classmethod
    def from_arrow(cls, arrow_type: pa.DataType) -> DataType:
        """Of a type of Arrow's."""
        return cls(arrow_type)

    @classmethod
    def from_numpy(cls, numpy_dtype: Any) -> DataType:
        """Of a type of numpy's, or its name."""
        return cls(np.dtype(numpy_dtype))

    @classmethod
    def infer_dtype(cls, value: Any) -> DataType:
        """Of the type that a value has."""
        if isinstance(value, (np.ndarray, np.generic)):
            return cls(value.dtype)
        if isinstance(value, (pa.Scalar, pa.Array, pa.ChunkedArray)):
            return cls(value.type)
        return cls(blocks.column([value]).type)

    # ------------------------------------------------------------ by name

    @classmethod
    def int8(cls) -> DataType:
        """Whole numbers of 8 bits."""
        return cls(pa.int8())

    @classmethod
    def int16(cls) -> DataType:
        """Whole numbers of 16 bits."""
        return cls(pa.int16())

    @classmethod
    def int32(cls) -> DataType:
        """Whole numbers of 32 bits."""
        return cls(pa.int32())

    @classmethod
    def int64(cls) -> DataType:
        """Whole numbers of 64 bits."""
        return cls(pa.int64())

    @classmethod
    def uint8(cls) -> DataType:
        """Whole numbers of 8 bits, from 0."""
        return cls(pa.uint8())

    @classmethod
    def uint16(cls) -> DataType:
        """Whole numbers of 16 bits, from 0."""
        return cls(pa.uint16())

    @classmethod
    def uint32(cls) -> DataType:
        """Whole numbers of 32 bits, from 0."""
        return cls(pa.uint32())

    @classmethod
    def uint64(cls) -> DataType:
        """Whole numbers of 64 bits, from 0."""
        return cls(pa.uint64())

    @classmethod
    def float32(cls) -> DataType:
        """Numbers of 32 bits."""
        return cls(pa.float32())

    @classmethod
    def float64(cls) -> DataType:
        """Numbers of 64 bits."""
        return cls(pa.float64())

    @classmethod
    def string(cls) -> DataType:
        """Text."""
        return cls(pa.string())

    @classmethod
    def bool(cls) -> DataType:
        """True or false."""
        return cls(pa.bool_())

    @classmethod
    def binary(cls) -> DataType:
        """Bytes."""
        return cls(pa.binary())

    @classmethod
    def list(cls, value_type: DataType) -> DataType:
        """Lists."""
        return cls(pa.list_(value_type.to_arrow_dtype()))

    @classmethod
    def large_list(cls, value_type: DataType) -> DataType:
        """Lists, of more than 2 ** 31 values in all."""
        return cls(pa.large_list(value_type.to_arrow_dtype()))

    @classmethod
    def fixed_size_list(cls, value_type: DataType, list_size: int) -> DataType:
        """Lists of one length."""
        return cls(pa.list_(value_type.to_arrow_dtype(), list_size))

    @classmethod
    def struct(cls, fields: Sequence[tuple[str, DataType]]) -> DataType:
        """Fields by name."""
        return cls(pa.struct([(name, kind.to_arrow_dtype()) for name, kind in fields]))

    @classmethod
    def map(cls, key_type: DataType, value_type: DataType) -> DataType:
        """Values by key."""
        return cls(pa.map_(key_type.to_arrow_dtype(), value_type.to_arrow_dtype()))

    @classmethod
    def tensor(cls, shape: tuple[int, ...], dtype: DataType) -> DataType:
        """Arrays of one shape."""
        return cls(pa.fixed_shape_tensor(dtype.to_arrow_dtype(), shape))

    @classmethod
    def temporal(cls, temporal_type: str, unit: str | None = None, tz: str | None = None) -> DataType:
        """Dates and times.

        Args:
            temporal_type: "timestamp", "duration", "time32", "time64", "date32" or "date64".
            unit: "s", "ms", "us" or "ns"; None: "us", for time32 "s".
            tz: the time zone of timestamps; None: none.
        """
        if temporal_type in _OF_DAYS:
            return cls(_OF_DAYS[temporal_type]())
        if temporal_type not in _OF_TIME:
            raise ValueError(f"temporal_type={temporal_type!r}: it must be one of {', '.join([*_OF_TIME, *_OF_DAYS])}")
        unit = unit or ("s" if temporal_type == "time32" else "us")
        return cls(pa.timestamp(unit, tz) if temporal_type == "timestamp" else _OF_TIME[temporal_type](unit))

    # ------------------------------------------------------------ as others

    def to_arrow_dtype(self, values: Any = None) -> pa.DataType:
        """As Arrow has it; a type of Python's that Arrow cannot know, such as `list`, as that of `values`."""
        if isinstance(self._value, pa.DataType):
            return self._value
        if isinstance(self._value, np.dtype):
            return pa.from_numpy_dtype(self._value)
        return kernels.to_type(self._value) if values is None else blocks.column(builtins.list(values)).type

    def to_numpy_dtype(self) -> np.dtype[Any]:
        """As numpy has it; `object` if it has none."""
        if isinstance(self._value, np.dtype):
            return self._value
        try:
            kind: np.dtype[Any] = np.dtype(self.to_arrow_dtype().to_pandas_dtype())
        except (NotImplementedError, TypeError):
            return np.dtype(object)
        return kind

    def to_python_type(self) -> type:
        """The type of Python's.

        Raises:
            ValueError: it is one of Arrow's or numpy's.
        """
        if not isinstance(self._value, type):
            raise ValueError(f"{self!r} is no type of Python's")
        return self._value

    # ------------------------------------------------------------ what it is

    def is_arrow_type(self) -> builtins.bool:
        """Whether it was made of one of Arrow's."""
        return isinstance(self._value, pa.DataType)

    def is_numpy_type(self) -> builtins.bool:
        """Whether it was made of one of numpy's."""
        return isinstance(self._value, np.dtype)

    def is_python_type(self) -> builtins.bool:
        """Whether it was made of one of Python's."""
        return isinstance(self._value, type)

    def is_of(self, category: str) -> builtins.bool:
        """Whether it is a "list", "large_list", "struct", "map", "tensor", "temporal" or "null"."""
        name = str(getattr(category, "value", category))
        if name not in _CATEGORIES:
            raise ValueError(f"category={category!r}: it must be one of {', '.join(_CATEGORIES)}")
        return self._is(blocks.is_tensor if name == "tensor" else getattr(pa.types, f"is_{name}"))

    def is_tensor_type(self) -> builtins.bool:
        """Arrays."""
        return self._is(blocks.is_tensor)

    def is_list_type(self) -> builtins.bool:
        """Lists of any kind."""
        return self._is(pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)

    def is_struct_type(self) -> builtins.bool:
        """Fields by name."""
        return self._is(pa.types.is_struct)

    def is_map_type(self) -> builtins.bool:
        """Values by key."""
        return self._is(pa.types.is_map)

    def is_nested_type(self) -> builtins.bool:
        """Made of others."""
        return self._is(pa.types.is_nested)

    def is_integer_type(self) -> builtins.bool:
        """Whole numbers."""
        return self._is(pa.types.is_integer)

    def is_floating_type(self) -> builtins.bool:
        """Numbers with a fraction."""
        return self._is(pa.types.is_floating)

    def is_numerical_type(self) -> builtins.bool:
        """Numbers."""
        return self._is(pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)

    def is_boolean_type(self) -> builtins.bool:
        """True or false."""
        return self._is(pa.types.is_boolean)

    def is_string_type(self) -> builtins.bool:
        """Text."""
        return self._is(pa.types.is_string, pa.types.is_large_string)

    def is_binary_type(self) -> builtins.bool:
        """Bytes."""
        return self._is(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)

    def is_temporal_type(self) -> builtins.bool:
        """Dates and times."""
        return self._is(pa.types.is_temporal)

    def is_null_type(self) -> builtins.bool:
        """Nothing but nulls."""
        return self._is(pa.types.is_null)

    def _is(self, *tests: Callable[[pa.DataType], builtins.bool]) -> builtins.bool:
        """Whether one of these says so; a type that Arrow does not have is none of them."""
        try:
            kind = self.to_arrow_dtype()
        except (TypeError, pa.ArrowNotImplementedError):
            return False
        return any(test(kind) for test in tests)

    def __eq__(self, other: object) -> builtins.bool:
        if isinstance(other, DataType):
            return builtins.bool(self._value == other._value)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        name = self._value.__name__ if isinstance(self._value, type) else self._value
        return f"DataType({name})"
