"""Expressions in Polars' words.

Each rule here was chosen because nothing about it differs from `kernels.py`: not the type of the result, nor what becomes of
nulls and NaN, nor when it fails. So whole numbers are not computed with (ours do not wrap around), and types are not
mixed in other ways than those that are exact. Polars takes NaN for a number that is greater than others, and equal to
itself: where one may be compared, it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from ..expr import Alias, Call, Column, Expr, Literal
from .types import Refused, dtype_of, is_float, is_integer, same

EXACT = {pa.float64(): (1 << 53, 32), pa.float32(): (1 << 24, 16)}
"""Up to which whole number, and up to how many bits of a column of them, each is one of these floats, too."""
BOOL = pa.bool_()


class Said(NamedTuple):
    """An expression of Polars, the type that its values have for Arrow, and the value itself of a literal."""

    expr: Any
    type: pa.DataType
    literal: Literal | None = None

    @property
    def may_be_nan(self) -> bool:
        """Whether a value may be NaN."""
        return is_float(self.type) and self.literal is None


def say(expr: Expr, columns: pa.Schema) -> Said:
    """An expression over columns, for Polars.

    Raises:
        Refused: it cannot be said with the same meaning.
    """
    import polars as pl

    if isinstance(expr, Column):
        if columns.names.count(expr.name) != 1:
            raise Refused(f"{expr}, which is not there")
        kind = columns.field(expr.name).type
        dtype_of(kind)
        return Said(pl.col(expr.name), kind)
    if isinstance(expr, Literal):
        return _literal(expr)
    if isinstance(expr, Alias):
        return say(expr.expr, columns)
    rule = _RULES.get(expr.function) if isinstance(expr, Call) else None
    if rule is None or not isinstance(expr, Call):
        raise Refused(str(expr))
    return rule([say(arg, columns) for arg in expr.args], expr.options)


def _literal(expr: Literal) -> Said:
    import polars as pl

    kind, value = expr.scalar.type, expr.scalar.as_py()
    if value is None or value != value or (pa.types.is_timestamp(kind) and kind.unit == "ns"):
        raise Refused(f"the value {value}")
    return Said(pl.lit(value, dtype_of(kind)), kind, expr)


# ---------------------------------------------------------------- types that meet


def _alike(left: Said, right: Said) -> tuple[Said, Said]:
    """Two values in the type in which Arrow compares and computes them."""
    if same(left.type, right.type):
        return left, right
    if is_integer(left.type) and is_integer(right.type):
        if pa.types.is_uint64(left.type) or pa.types.is_uint64(right.type):
            raise Refused("large whole numbers without a sign beside others")
        return _as(left, pa.int64()), _as(right, pa.int64())
    wide = pa.float64() if pa.float64() in (left.type, right.type) else pa.float32()
    return _exactly(left, wide), _exactly(right, wide)


def _exactly(value: Said, wide: pa.DataType) -> Said:
    """A number as a float that is the same number."""
    if value.type == wide or (value.type == pa.float32() and wide == pa.float64()):
        return _as(value, wide)
    most, bits = EXACT[wide]
    if not is_integer(value.type):
        raise Refused(f"{value.type} beside {wide}")
    small = abs(value.literal.scalar.as_py()) <= most if value.literal is not None else value.type.bit_width <= bits
    if not small:
        raise Refused(f"{value.type} as {wide}")
    return _as(value, wide)


def _as(value: Said, kind: pa.DataType) -> Said:
    return value if value.type == kind else Said(value.expr.cast(dtype_of(kind)), kind, value.literal)


def _needs_bool(*args: Said) -> None:
    if any(arg.type != BOOL for arg in args):
        raise Refused("truth of what is not true or false")


# ---------------------------------------------------------------- rules

Rule = Callable[[Sequence[Said], Mapping[str, Any]], Said]


def _arithmetic(function: str) -> Rule:
    def run(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
        if not any(is_float(arg.type) for arg in args):
            raise Refused("arithmetic of other than floats")
        left, right = _alike(*args)
        return Said(getattr(left.expr, function)(right.expr), left.type)

    return run


def _divide(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
    floats = [_as(arg, pa.float64()) if is_integer(arg.type) else arg for arg in args]
    return _arithmetic("truediv")(floats, options)


def _negate(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
    if not is_float(args[0].type):
        raise Refused("the negative of other than floats")
    return Said(-args[0].expr, args[0].type)


def _equal(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
    left, right = _alike(*args)
    found = left.expr == right.expr
    if left.may_be_nan and right.may_be_nan:
        found = found & (right.expr.is_not_nan() | left.expr.is_null())
    return Said(found, BOOL)


def _not_equal(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
    left, right = _alike(*args)
    found = left.expr != right.expr
    if left.may_be_nan and right.may_be_nan:
        found = found | (left.expr.is_nan() & right.expr.is_nan())
    return Said(found, BOOL)


def _less(function: str, turned: bool) -> Rule:
    """Less than, or greater than with both sides exchanged: NaN is neither."""

    def run(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
        left, right = _alike(*args)
        found = getattr(left.expr, function)(right.expr)
        low, high = (right, left) if turned else (left, right)
        if high.may_be_nan:
            number = high.expr.is_not_nan()
            found = found & (number if low.literal is not None else number | low.expr.is_null())
        return Said(found, BOOL)

    return run


def _and(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
    _needs_bool(*args)
    return Said(args[0].expr & args[1].expr, BOOL)


def _or(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
    _needs_bool(*args)
    return Said(args[0].expr | args[1].expr, BOOL)


def _invert(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
    _needs_bool(*args)
    return Said(~args[0].expr, BOOL)


def _is_null(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
    return Said(args[0].expr.is_null(), BOOL)


def _is_valid(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
    return Said(args[0].expr.is_not_null(), BOOL)


def _is_nan(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
    if not is_float(args[0].type):
        raise Refused("is_nan of other than floats")
    return Said(args[0].expr.is_nan(), BOOL)


def _is_in(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
    """Of whole numbers and strings among their like."""
    import polars as pl

    value, wanted = args[0], [each for each in options["values"] if each is not None]
    kind = int if is_integer(value.type) else str if same(value.type, pa.string()) else None
    if kind is None or not wanted or any(type(each) is not kind for each in wanted):
        raise Refused("is_in of these values")
    try:
        among = pl.Series(wanted, dtype=dtype_of(value.type))
    except (pl.exceptions.PolarsError, TypeError, OverflowError):
        raise Refused("is_in of values of another type") from None
    return Said(value.expr.is_in(among.implode()).fill_null(None in options["values"]), BOOL)


def _if_else(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
    import polars as pl

    condition, yes, no = args
    _needs_bool(condition)
    if yes.type != no.type:
        raise Refused("a choice between two types")
    return Said(pl.when(condition.expr).then(yes.expr).otherwise(no.expr), yes.type)


def _coalesce(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
    import polars as pl

    if any(arg.type != args[0].type for arg in args):
        raise Refused("a choice between two types")
    return Said(pl.coalesce(*(arg.expr for arg in args)), args[0].type)


def _text(function: str) -> Rule:
    def run(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
        if not same(args[0].type, pa.string()) or options.get("ignore_case"):
            raise Refused(f"{function} of this")
        more = {"literal": True} if function == "contains" else {}
        return Said(getattr(args[0].expr.str, function)(options["pattern"], **more), BOOL)

    return run


def _of_date(function: str) -> Rule:
    def run(args: Sequence[Said], options: Mapping[str, Any]) -> Said:
        import polars as pl

        if not pa.types.is_date32(args[0].type):
            raise Refused(f"{function} of other than dates")
        return Said(getattr(args[0].expr.dt, function)().cast(pl.Int64), pa.int64())

    return run


_RULES: dict[str, Rule] = {
    "add": _arithmetic("add"),
    "subtract": _arithmetic("sub"),
    "multiply": _arithmetic("mul"),
    "divide": _divide,
    "negate": _negate,
    "equal": _equal,
    "not_equal": _not_equal,
    "less": _less("lt", False),
    "less_equal": _less("le", False),
    "greater": _less("gt", True),
    "greater_equal": _less("ge", True),
    "and_kleene": _and,
    "or_kleene": _or,
    "invert": _invert,
    "is_null": _is_null,
    "is_valid": _is_valid,
    "is_nan": _is_nan,
    "is_in": _is_in,
    "if_else": _if_else,
    "coalesce": _coalesce,
    "match_substring": _text("contains"),
    "starts_with": _text("starts_with"),
    "ends_with": _text("ends_with"),
    "year": _of_date("year"),
    "month": _of_date("month"),
    "day": _of_date("day"),
}
