"""The functions that expressions are made of: on columns, scalars, and (those in `SEEN_THROUGH`) Arrow's expressions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from . import nested
from .compute import pc

SIGNS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "floor_divide": "//", "mod": "%", "power": "**",
    "equal": "==", "not_equal": "!=", "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=",
    "and_kleene": "&", "or_kleene": "|",
}  # fmt: skip

UNARY = frozenset({
    "ceil", "floor", "trunc", "sqrt", "exp", "ln", "log2", "log10", "log1p", "expm1", "sin", "cos", "tan", "asin", "acos", "atan",
    "sinh", "cosh", "tanh", "sign", "abs",
})  # fmt: skip
"""Functions of one number that are methods of expressions under the same name."""

SEEN_THROUGH = frozenset({
    "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "and_kleene",
    "or_kleene", "invert", "is_null", "is_valid", "is_in",
})  # fmt: skip
"""What readers of files apply, too, with the same result."""

VALUES_SEEN = 32
"""A longer list is not handed to readers of files."""

_TYPES = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_(), bytes: pa.binary()}


def to_type(dtype: Any) -> pa.DataType:
    """A type of Arrow's from one, its name, or a type of Python's.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(dtype, pa.DataType):
        return dtype
    if isinstance(dtype, type) and dtype in _TYPES:
        return _TYPES[dtype]
    if hasattr(dtype, "to_arrow_dtype"):
        found: pa.DataType = dtype.to_arrow_dtype()
        return found
    try:
        return pa.type_for_alias(str(dtype))
    except ValueError:
        raise TypeError(f"{dtype!r} is no type of Arrow's, such as pa.int64() or 'int64'") from None


def seen_through(function: str, options: dict[str, Any]) -> bool:
    """Whether readers of files apply a function."""
    return function in SEEN_THROUGH and len(options.get("values", ())) <= VALUES_SEEN


def apply(function: str, args: Sequence[Any], options: dict[str, Any]) -> Any:
    """Call a function."""
    own = _OWN.get(function)
    args = [_plain(arg) for arg in args]
    return own(*args, **options) if own is not None else getattr(pc, function)(*args, **options)


def _plain(value: Any) -> Any:
    """Values instead of their places in a dictionary: most functions know only those."""
    if isinstance(value, pc.Expression) or not pa.types.is_dictionary(value.type):
        return value
    return value.cast(value.type.value_type)


# ---------------------------------------------------------------- arithmetic, as Python has it


def _is_integer(value: Any) -> bool:
    return bool(pa.types.is_integer(value.type))


def _is_number(value: Any) -> bool:
    return _is_integer(value) or bool(pa.types.is_floating(value.type)) or bool(pa.types.is_boolean(value.type))


def _number(value: Any) -> Any:
    """Booleans as 0 and 1."""
    return pc.cast(value, pa.int64()) if pa.types.is_boolean(value.type) else value


def _float(value: Any) -> Any:
    whole = _is_integer(value) or pa.types.is_boolean(value.type)
    return pc.cast(_number(value), pa.float64(), safe=False) if whole else value


def _checked(name: str) -> Callable[..., Any]:
    """Arithmetic that does not wrap around when a whole number grows too large."""
    function = getattr(pc, name)

    def run(*args: Any) -> Any:
        return function(*(_number(arg) for arg in args))

    return run


def _add(left: Any, right: Any) -> Any:
    """Numbers are added, strings joined."""
    if any(map(_is_text, (left, right))):
        return joined_texts([left, right])
    return pc.add_checked(*_moved(_number(left), _number(right)))


def joined_texts(parts: Sequence[Any]) -> Any:
    """Texts, one behind the other. Arrow wants all of one type: those of pandas are large ones."""
    large = any(pa.types.is_large_string(each.type) for each in parts)
    kind = pa.large_string() if large else pa.string()
    same = [pc.cast(each, kind) if _is_text(each) else each for each in parts]
    return pc.binary_join_element_wise(*same, pa.scalar("", kind))


def _is_text(value: Any) -> bool:
    return bool(pa.types.is_string(value.type) or pa.types.is_large_string(value.type))


def _subtract(left: Any, right: Any) -> Any:
    return pc.subtract_checked(*_moved(_number(left), _number(right)))


def _moved(left: Any, right: Any) -> tuple[Any, Any]:
    """A day that is moved by a time is one, too."""
    if pa.types.is_date(left.type) and pa.types.is_duration(right.type):
        left = pc.cast(left, pa.timestamp(right.type.unit))
    elif pa.types.is_date(right.type) and pa.types.is_duration(left.type):
        right = pc.cast(right, pa.timestamp(left.type.unit))
    return left, right


def _divide(left: Any, right: Any) -> Any:
    """True division; by zero, it is infinite or NaN."""
    return pc.divide(_float(left), _float(right))


def _floor_divide(left: Any, right: Any) -> Any:
    """Rounded towards minus infinity, as Python does."""
    left, right = _number(left), _number(right)
    if not (_is_integer(left) and _is_integer(right)):
        return _by_numpy(np.floor_divide, left, right)
    quotient = pc.divide_checked(left, right)  # towards zero
    return pc.subtract(quotient, _rounded_up(left, right, quotient).cast(quotient.type))


def _mod(left: Any, right: Any) -> Any:
    """With the sign of the divisor, as Python does."""
    left, right = _number(left), _number(right)
    if not (_is_integer(left) and _is_integer(right)):
        return _by_numpy(np.mod, left, right)
    quotient = pc.divide(left, right)
    rest = pc.subtract(left, pc.multiply(quotient, right))
    return pc.add(rest, pc.if_else(_rounded_up(left, right, quotient), right, pa.scalar(0, rest.type)))


def _rounded_up(left: Any, right: Any, quotient: Any) -> Any:
    """Where rounding towards zero was up: the signs differ, and something is left over."""
    rest = pc.subtract(left, pc.multiply(quotient, right))
    return pc.and_(pc.not_equal(rest, 0), pc.not_equal(pc.less(rest, 0), pc.less(right, 0)))


def _by_numpy(function: Callable[..., Any], left: Any, right: Any) -> Any:
    """A function of floats that Arrow does not have."""
    if not (_is_number(left) and _is_number(right)):
        raise TypeError("it is of integers and floats")
    missing = pc.or_(pc.is_null(left), pc.is_null(right))
    with np.errstate(all="ignore"):
        found = function(*(_numbers(each) for each in (left, right)))
    if isinstance(missing, pa.Scalar):
        return pa.scalar(None if missing.as_py() else float(found), pa.float64())
    return pa.chunked_array([pa.array(found, mask=np.asarray(missing))])


def _numbers(value: Any) -> Any:
    filled = pc.fill_null(_float(value), math.nan)
    return filled.as_py() if isinstance(filled, pa.Scalar) else np.asarray(filled)


def _power(left: Any, right: Any) -> Any:
    """Integers stay integers; a negative exponent makes floats."""
    left, right = _number(left), _number(right)
    if not (_is_integer(left) and _is_integer(right)):
        return pc.power(_float(left), _float(right))
    lowest = right if isinstance(right, pa.Scalar) else pc.min(right)
    if lowest.is_valid and lowest.as_py() < 0:
        return pc.power(_float(left), _float(right))
    return pc.power_checked(left, right)


def _round(values: Any, decimals: int) -> Any:
    return pc.round(values, ndigits=decimals, round_mode="half_to_even")


# ---------------------------------------------------------------- choices and types


def _is_in(found: Any, values: Sequence[Any]) -> Any:
    if isinstance(found, pc.Expression):
        return _is_one_of(found, values)
    wanted = pa.array(list(values))
    if not pa.types.is_null(wanted.type) and not wanted.type.equals(found.type):
        try:
            wanted = wanted.cast(found.type)
        except pa.ArrowInvalid:  # 1.5 among integers, for one
            found = pc.cast(found, wanted.type)
    return pc.is_in(found, value_set=wanted)


def _is_one_of(found: Any, values: Sequence[Any]) -> Any:
    """In words that Arrow's reader understands: its own `isin` loses rows of floats, from row groups that have only zeros."""
    equal = pc.scalar(False)
    for value in values:
        equal = equal | (found == pc.scalar(value) if value is not None else pc.scalar(False))
    return found.is_null() | equal if None in values else found.is_valid() & equal


def _if_else(condition: Any, yes: Any, no: Any) -> Any:
    return pc.if_else(pc.fill_null(condition, False), yes, no)


def _cast(values: Any, dtype: pa.DataType, safe: bool) -> Any:
    return values.cast(dtype, safe=safe) if isinstance(values, pa.ChunkedArray) else pc.cast(values, dtype, safe=safe)


# ---------------------------------------------------------------- times


def _day_of(values: Any) -> Any:
    if pa.types.is_timestamp(values.type) and values.type.tz is not None:
        values = pc.local_timestamp(values)
    return pc.cast(values, pa.date32(), safe=False)


def _time_of(values: Any) -> Any:
    if values.type.tz is not None:
        values = pc.local_timestamp(values)
    return pc.cast(values, pa.time64("ns" if values.type.unit == "ns" else "us"), safe=False)


def _epoch(values: Any, unit: str) -> Any:
    zone = getattr(values.type, "tz", None)
    return pc.cast(pc.cast(values, pa.timestamp(unit, zone), safe=False), pa.int64())


def _in_zone(values: Any, zone: str) -> Any:
    return pc.cast(values, pa.timestamp(values.type.unit, zone))


_OWN: dict[str, Callable[..., Any]] = {
    "add": _add,
    "subtract": _subtract,
    "multiply": _checked("multiply_checked"),
    "negate": _checked("negate_checked"),
    "abs": _checked("abs_checked"),
    "divide": _divide,
    "floor_divide": _floor_divide,
    "mod": _mod,
    "power": _power,
    "is_in": _is_in,
    "if_else": _if_else,
    "cast": _cast,
    "round": _round,
    "day_of": _day_of,
    "time_of": _time_of,
    "epoch": _epoch,
    "in_zone": _in_zone,
    "list_length": nested.length,
    "list_get": nested.get,
    "list_cut": nested.cut,
    "list_ordered": nested.ordered,
    "list_flat": nested.flatten,
    "list_contains": nested.contains,
    "list_aggregate": nested.aggregate,
    "map_part": nested.map_part,
    "array_to_list": nested.array_to_list,
}
