"""The functions that expressions are made of, on Arrow's columns, scalars, and (those in `SEEN_THROUGH`) on Arrow's expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

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
    try:
        return pa.type_for_alias(str(dtype))
    except ValueError:
        raise TypeError(f"{dtype!r} is no type of Arrow's, such as pa.int64() or 'int64'") from None


def apply(function: str, args: Sequence[Any], options: dict[str, Any]) -> Any:
    """Call a function."""
    own = _OWN.get(function)
    return own(*args, **options) if own is not None else getattr(pc, function)(*args, **options)


def _is_integer(value: Any) -> bool:
    return pa.types.is_integer(value.type)


def _divide(left: Any, right: Any) -> Any:
    """True division; by zero, it is infinite or NaN."""
    if _is_integer(left) or pa.types.is_boolean(left.type):
        left = left.cast(pa.float64())
    if _is_integer(right) or pa.types.is_boolean(right.type):
        right = right.cast(pa.float64())
    return pc.divide(left, right)


def _floor_divide(left: Any, right: Any) -> Any:
    """Rounded towards minus infinity, as Python does."""
    if not (_is_integer(left) and _is_integer(right)):
        return pc.floor(_divide(left, right))
    quotient = pc.divide(left, right)  # towards zero
    rest = pc.subtract(left, pc.multiply(quotient, right))
    other_sign = pc.and_(pc.not_equal(rest, 0), pc.not_equal(pc.less(rest, 0), pc.less(right, 0)))
    return pc.subtract(quotient, other_sign.cast(quotient.type))


def _mod(left: Any, right: Any) -> Any:
    """With the sign of the divisor, as Python does."""
    return pc.subtract(left, pc.multiply(_floor_divide(left, right), right))


def _power(left: Any, right: Any) -> Any:
    """Integers stay integers; a negative exponent makes a float."""
    if (
        _is_integer(left)
        and _is_integer(right)
        and pc.min(_array(right)).as_py() is not None
        and pc.min(_array(right)).as_py() < 0
    ):
        left = left.cast(pa.float64())
    return pc.power(left, right)


def _array(value: Any) -> Any:
    return pa.array([value.as_py()], value.type) if isinstance(value, pa.Scalar) else value


def _add(left: Any, right: Any) -> Any:
    """Numbers are added, strings joined."""
    if pa.types.is_string(left.type) or pa.types.is_large_string(left.type):
        return pc.binary_join_element_wise(left, right, pa.scalar("", left.type))
    return pc.add(left, right)


def _is_in(values: Any, **options: Any) -> Any:
    wanted = pa.array(list(options["values"]))
    if isinstance(values, pc.Expression):
        return values.isin(wanted)
    if not pa.types.is_null(wanted.type) and not wanted.type.equals(values.type):
        wanted = wanted.cast(values.type)
    return pc.is_in(values, value_set=wanted)


def _cast(values: Any, dtype: pa.DataType, safe: bool) -> Any:
    return values.cast(dtype, safe=safe) if isinstance(values, pa.ChunkedArray) else pc.cast(values, dtype, safe=safe)


def _round(values: Any, decimals: int) -> Any:
    return pc.round(values, ndigits=decimals, round_mode="half_to_even")


_OWN: dict[str, Callable[..., Any]] = {
    "add": _add,
    "divide": _divide,
    "floor_divide": _floor_divide,
    "mod": _mod,
    "power": _power,
    "is_in": _is_in,
    "cast": _cast,
    "round": _round,
}
