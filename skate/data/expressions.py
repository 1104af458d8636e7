"""What users make expressions of: `col("a") + 1`, `when(col("n") > 0).then("more").otherwise("none")`, `random()`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from . import kernels
from .expr import Alias, Call, Column, Expr, Literal, Udf, call, to_expr
from .functions import UserFunction
from .generators import Download, MonotonicallyIncreasingId, Random, Uuid
from .projection import Star, Unnest, filter_rows, project, project_block


def col(name: str) -> Expr:
    """The column of that name.

    Example:
        >>> str((col("a") + 1) * col("b"))
        "((col('a') + 1) * col('b'))"
    """
    return Column(name)


def lit(value: Any) -> Expr:
    """A value that is the same in every row.

    Example:
        >>> str(lit(3) - col("a"))
        "(3 - col('a'))"
    """
    return Literal(value)


def coalesce(*values: Any) -> Expr:
    """The first of several that is not null."""
    if not values:
        raise TypeError("coalesce() needs at least one value")
    return call("coalesce", *values)


def if_else(condition: Any, yes: Any, no: Any) -> Expr:
    """One value where a condition is true, the other where it is false or null."""
    return call("if_else", condition, yes, no)


class When:
    """Conditions, and what comes of them: made by `when`, ended by `otherwise`.

    Args:
        cases: conditions and values so far.
        condition: the one whose value is to follow.
    """

    def __init__(self, cases: tuple[tuple[Any, Any], ...], condition: Any) -> None:
        self._cases = cases
        self._condition = condition

    def then(self, value: Any) -> Then:
        """The value where the condition is true, and none before it was."""
        return Then((*self._cases, (self._condition, value)))


class Then:
    """Cases that may be followed by others."""

    def __init__(self, cases: tuple[tuple[Any, Any], ...]) -> None:
        self._cases = cases

    def when(self, condition: Any) -> When:
        """A further condition, for the rows for which none before it is true."""
        return When(self._cases, condition)

    def otherwise(self, value: Any = None) -> Expr:
        """The value of the rows for which no condition is true."""
        found = to_expr(value)
        for condition, then in reversed(self._cases):
            found = if_else(condition, then, found)
        return found


def when(condition: Any) -> When:
    """Choose between values by conditions; one that is null is not true.

    Example:
        >>> str(when(col("n") > 9).then("many").otherwise("few"))
        "if_else((col('n') > 9), 'many', 'few')"
    """
    return When((), condition)


def udf(return_dtype: Any = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a function of whole columns (Arrow arrays in, any sequence of as many values out) for use in expressions.

    A class is decorated, too: it is called with what its constructor needs, and what comes of that with expressions. It is
    constructed once in each worker process.

    Args:
        return_dtype: the type of its result; None: as it comes.
    """
    kind = None if return_dtype is None else kernels.to_type(return_dtype)

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        def maker(function: UserFunction) -> Callable[..., Expr]:
            def make(*args: Any, **kwargs: Any) -> Expr:
                values = tuple(to_expr(arg) for arg in (*args, *kwargs.values()))
                return Udf(function, values, kind, tuple(kwargs))

            make.__name__ = function.name
            make.__doc__ = inspect.getdoc(fn)
            return make

        if not inspect.isclass(fn):
            return maker(UserFunction(fn))
        return lambda *args, **kwargs: maker(UserFunction(fn, constructor_args=args, constructor_kwargs=kwargs))

    return decorate


def pyarrow_udf(return_dtype: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The same as `udf`: functions get Arrow arrays in any case."""
    return udf(return_dtype)


def star() -> Expr:
    """All columns that there are."""
    return Star()


def unnest(expr: Expr) -> Expr:
    """The fields of a struct as columns of their own."""
    if isinstance(expr, Unnest):
        raise TypeError("unnest() is of a struct, not of another unnest()")
    return Unnest(check_expr("unnest()", expr))


def random(*, seed: int | None = None, reseed_after_execution: bool = True) -> Expr:
    """Random numbers, from 0 up to 1.

    Args:
        seed: the same seed gives the same numbers, if blocks are the same; None: other ones each time.
        reseed_after_execution: each execution of the dataset gives other numbers, but all in the same sequence of executions.
    """
    return Random(seed, reseed_after_execution)


def uuid() -> Expr:
    """A random UUID in each row, as text."""
    return Uuid()


def monotonically_increasing_id() -> Expr:
    """A number that no other row of the dataset has. It grows within a block, and leaves gaps between blocks."""
    return MonotonicallyIncreasingId()


def download(uri_column_name: str, *, filesystem: Any = None) -> Expr:
    """The bytes of the files that a column names: paths, or anything that fsspec opens. Null stays null.

    Args:
        uri_column_name: the column.
        filesystem: of Arrow or fsspec; None: by what the names begin with.
    """
    return Download(Column(uri_column_name), filesystem)


def check_expr(what: str, value: Any) -> Expr:
    """The value, if it is an expression.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, Expr):
        raise TypeError(f'{what} must be an expression such as col("a") > 3, not {type(value).__name__}')
    return value


__all__ = [
    "Alias",
    "Call",
    "Column",
    "Expr",
    "Literal",
    "Udf",
    "check_expr",
    "coalesce",
    "col",
    "download",
    "filter_rows",
    "if_else",
    "lit",
    "monotonically_increasing_id",
    "project",
    "project_block",
    "pyarrow_udf",
    "random",
    "star",
    "udf",
    "unnest",
    "uuid",
    "when",
]
