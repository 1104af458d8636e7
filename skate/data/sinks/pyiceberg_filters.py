"""Our expressions as those of pyiceberg."""

from __future__ import annotations

from typing import Any

from ...exceptions import UnsupportedError
from ..expr import Call, Column, Expr, Literal
from ..optional import need

TURNED = {"less": "greater", "less_equal": "greater_equal", "greater": "less", "greater_equal": "less_equal"}
"""A comparison with its sides the other way round."""
COMPARISONS = {
    "equal": "EqualTo",
    "not_equal": "NotEqualTo",
    "less": "LessThan",
    "less_equal": "LessThanOrEqual",
    "greater": "GreaterThan",
    "greater_equal": "GreaterThanOrEqual",
}
TESTS = {"is_null": "IsNull", "is_valid": "NotNull", "is_nan": "IsNaN"}


def to_iceberg(expr: Any) -> Any:
    """An expression of pyiceberg's with the same meaning. What is none of ours is returned as it is.

    Raises:
        UnsupportedError: pyiceberg has nothing for a part of it.
    """
    if not isinstance(expr, Expr):
        return expr
    theirs: Any = need("pyiceberg.expressions", "pyiceberg", "write_iceberg")
    if isinstance(expr, Call):
        args, name = expr.args, expr.function
        if name in ("and_kleene", "or_kleene"):
            join = theirs.And if name == "and_kleene" else theirs.Or
            return join(to_iceberg(args[0]), to_iceberg(args[1]))
        if name == "invert":
            return theirs.Not(to_iceberg(args[0]))
        if name in COMPARISONS and isinstance(args[0], Literal):
            args, name = (args[1], args[0]), TURNED.get(name, name)
        if isinstance(args[0], Column):
            column = args[0].name
            if name in COMPARISONS and isinstance(args[1], Literal):
                return getattr(theirs, COMPARISONS[name])(column, args[1].scalar.as_py())
            if name in TESTS:
                return getattr(theirs, TESTS[name])(column)
            if name == "is_in" and None not in expr.options["values"]:
                return theirs.In(column, expr.options["values"])
    raise UnsupportedError(
        f"{expr}: Iceberg has no such filter; it has comparisons of a column with a value, is_in, is_null, &, |, ~"
    )
