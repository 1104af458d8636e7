"""Expressions over columns: the tree behind `col("a") + 1`, `col("name").str.upper()`, `col("x") > lit(3)`.

An expression is a small tree. It is evaluated by Arrow's compute functions on whole columns, and can be seen through: which
columns it needs, and whether a file reader can apply it (`to_arrow`). A user's own function (`udf`) is not seen through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from . import block as blocks, kernels
from .block import Block
from .compute import pc
from .errors import no_column
from .functions import UserFunction, explain
from .keys import told, why

if TYPE_CHECKING:
    from .namespaces import (
        ArrayNamespace,
        DateNamespace,
        ListNamespace,
        MapNamespace,
        StringNamespace,
        StructNamespace,
    )


class Expr:
    """An expression. Python's operators on it make larger ones; `&`, `|` and `~` are and, or and not.

    Nulls are neither true nor false: what is computed from one is null, as in SQL. Integers that grow too large are an error.
    """

    spreads = False
    """It makes several columns, by `spread`."""

    def evaluate(self, block: Block) -> Any:
        """The values for the rows of a block: a column, or one scalar for all.

        Raises:
            ColumnNotFoundError: it needs a column that is not there.
        """
        raise NotImplementedError

    def to_arrow(self) -> Any:
        """The same as an expression of Arrow's, for readers of files; None: it cannot be said there."""
        return None

    def columns(self) -> set[str]:
        """The columns that it needs."""
        return {name for child in self.children() for name in child.columns()}

    def children(self) -> Sequence[Expr]:
        """The expressions that it is made of."""
        return ()

    def with_children(self, children: Sequence[Expr]) -> Expr:
        """The same of other expressions."""
        return self

    def rewrite(self, change: Callable[[Expr], Expr]) -> Expr:
        """The same with each part replaced, the innermost first."""
        children = self.children()
        changed = [child.rewrite(change) for child in children]
        same = all(new is old for new, old in zip(changed, children, strict=True))
        return change(self if same else self.with_children(changed))

    def substitute(self, columns: Mapping[str, Expr]) -> Expr:
        """The same with other expressions in place of columns."""
        return self.rewrite(lambda part: columns.get(part.name, part) if isinstance(part, Column) else part)

    def started(self) -> Expr:
        """What one execution of a plan computes in its place."""
        return self

    def spread(self, block: Block) -> Mapping[str, Any]:
        """The columns that it makes, if there are several."""
        raise NotImplementedError

    @property
    def pure(self) -> bool:
        """Whether it may be computed elsewhere, several times or not at all: a user's function may not."""
        return all(child.pure for child in self.children())

    @property
    def name(self) -> str:
        """What the column is called that it makes, if nobody says."""
        names = [child.name for child in self.children() if child.columns()]
        return names[0] if names else str(self)

    # ------------------------------------------------------------ operators

    def __add__(self, other: Any) -> Expr:
        return call("add", self, other)

    def __radd__(self, other: Any) -> Expr:
        return call("add", other, self)

    def __sub__(self, other: Any) -> Expr:
        return call("subtract", self, other)

    def __rsub__(self, other: Any) -> Expr:
        return call("subtract", other, self)

    def __mul__(self, other: Any) -> Expr:
        return call("multiply", self, other)

    def __rmul__(self, other: Any) -> Expr:
        return call("multiply", other, self)

    def __truediv__(self, other: Any) -> Expr:
        return call("divide", self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return call("divide", other, self)

    def __floordiv__(self, other: Any) -> Expr:
        return call("floor_divide", self, other)

    def __rfloordiv__(self, other: Any) -> Expr:
        return call("floor_divide", other, self)

    def __mod__(self, other: Any) -> Expr:
        return call("mod", self, other)

    def __rmod__(self, other: Any) -> Expr:
        return call("mod", other, self)

    def __pow__(self, other: Any) -> Expr:
        return call("power", self, other)

    def __rpow__(self, other: Any) -> Expr:
        return call("power", other, self)

    def __neg__(self) -> Expr:
        return call("negate", self)

    def __abs__(self) -> Expr:
        return call("abs", self)

    def __eq__(self, other: Any) -> Expr:  # type: ignore[override]
        return call("equal", self, other)

    def __ne__(self, other: Any) -> Expr:  # type: ignore[override]
        return call("not_equal", self, other)

    def __lt__(self, other: Any) -> Expr:
        return call("less", self, other)

    def __le__(self, other: Any) -> Expr:
        return call("less_equal", self, other)

    def __gt__(self, other: Any) -> Expr:
        return call("greater", self, other)

    def __ge__(self, other: Any) -> Expr:
        return call("greater_equal", self, other)

    def __and__(self, other: Any) -> Expr:
        return call("and_kleene", self, other)

    def __rand__(self, other: Any) -> Expr:
        return call("and_kleene", other, self)

    def __or__(self, other: Any) -> Expr:
        return call("or_kleene", self, other)

    def __ror__(self, other: Any) -> Expr:
        return call("or_kleene", other, self)

    def __invert__(self) -> Expr:
        return call("invert", self)

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError(
            f"whether {self} is true is known only for each row: use &, | and ~ in place of and, or and not, and parentheses "
            "around comparisons"
        )

    # ------------------------------------------------------------ methods

    def alias(self, name: str) -> Expr:
        """The same under another name."""
        return Alias(self, name)

    def is_null(self) -> Expr:
        """Whether there is no value."""
        return call("is_null", self)

    def is_not_null(self) -> Expr:
        """Whether there is a value."""
        return call("is_valid", self)

    def is_nan(self) -> Expr:
        """Whether it is a number's NaN."""
        return call("is_nan", self)

    def negate(self) -> Expr:
        """With the other sign."""
        return -self

    def power(self, exponent: Any) -> Expr:
        """To the power of `exponent`."""
        return call("power", self, exponent)

    def fill_null(self, value: Any) -> Expr:
        """The value, or `value` where there is none."""
        return call("coalesce", self, value)

    def is_in(self, values: Sequence[Any]) -> Expr:
        """Whether it is one of `values`. A null is only if one of them is None, as with pandas; it is never unknown."""
        return Call("is_in", (self,), {"values": tuple(values)})

    def not_in(self, values: Sequence[Any]) -> Expr:
        """Whether it is none of `values`."""
        return ~self.is_in(values)

    def between(self, low: Any, high: Any) -> Expr:
        """Whether it is `low`, `high` or between them."""
        return call("and_kleene", self >= low, self <= high)

    def cast(self, dtype: Any, *, safe: bool = True) -> Expr:
        """As another type: one of Arrow's, or its name, or `int`, `float`, `str`, `bool`.

        Args:
            dtype: the type.
            safe: raise an error when a value does not fit, instead of cutting it.
        """
        return Call("cast", (self,), {"dtype": kernels.to_type(dtype), "safe": safe})

    def round(self, decimals: int = 0) -> Expr:
        """Rounded, halves to the even neighbour."""
        return Call("round", (self,), {"decimals": decimals})

    def clip(self, low: Any = None, high: Any = None) -> Expr:
        """Not below `low` and not above `high`."""
        found: Expr = self
        if low is not None:
            found = call("max_element_wise", found, low)
        return found if high is None else call("min_element_wise", found, high)

    def __getattr__(self, name: str) -> Any:
        if name in kernels.UNARY:
            return lambda: call(name, self)
        raise AttributeError(f"an expression has no attribute {name!r}")

    @property
    def str(self) -> StringNamespace:
        """Functions of strings."""
        from .namespaces import StringNamespace

        return StringNamespace(self)

    @property
    def dt(self) -> DateNamespace:
        """Functions of dates and times."""
        from .namespaces import DateNamespace

        return DateNamespace(self)

    @property
    def list(self) -> ListNamespace:
        """Functions of lists."""
        from .namespaces import ListNamespace

        return ListNamespace(self)

    @property
    def struct(self) -> StructNamespace:
        """The fields of structs."""
        from .namespaces import StructNamespace

        return StructNamespace(self)

    @property
    def map(self) -> MapNamespace:
        """The keys and values of maps."""
        from .namespaces import MapNamespace

        return MapNamespace(self)

    @property
    def arr(self) -> ArrayNamespace:
        """Functions of arrays of one length."""
        from .namespaces import ArrayNamespace

        return ArrayNamespace(self)


class Column(Expr):
    """The values of a column."""

    def __init__(self, name: str) -> None:
        if not isinstance(name, _str):
            raise TypeError(f"col() needs the name of a column, not {name!r}")
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def evaluate(self, block: Block) -> Any:
        at = block.schema.get_field_index(self._name)
        if at < 0:
            raise no_column(self._name, block.column_names)
        return block.column(at)

    def to_arrow(self) -> Any:
        return pc.field(self._name)

    def columns(self) -> set[_str]:
        return {self._name}

    def __str__(self) -> _str:
        return f"col({self._name!r})"


class Literal(Expr):
    """The same value in every row."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.scalar = value if isinstance(value, pa.Scalar) else pa.scalar(value)

    def evaluate(self, block: Block) -> Any:
        return self.scalar

    def to_arrow(self) -> Any:
        return pc.scalar(self.scalar)

    def __str__(self) -> _str:
        return repr(self.value)


LOGIC = frozenset({"and_kleene", "or_kleene", "invert"})


class Call(Expr):
    """A function of `kernels.py` on expressions."""

    def __init__(self, function: _str, args: tuple[Expr, ...], options: dict[_str, Any] | None = None) -> None:
        self.function = function
        self.args = args
        self.options = options or {}

    def children(self) -> Sequence[Expr]:
        return self.args

    def evaluate(self, block: Block) -> Any:
        values = [arg.evaluate(block) for arg in self.args]
        try:
            return kernels.apply(self.function, values, self.options)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise self._explained(error, values) from error

    def _explained(self, error: Exception, values: Sequence[Any]) -> Exception:
        """The error as one of Python's that says what was to be computed."""
        types = ", ".join(map(told, values))
        message = _str(error).splitlines()[0]
        kind: type[Exception] = TypeError if isinstance(error, (pa.ArrowNotImplementedError, TypeError)) else ValueError
        if "overflow" in message or "divide by zero" in message:
            kind = OverflowError if "overflow" in message else ZeroDivisionError
        hint = "; put parentheses around comparisons, as in (a > 1) & (b < 4)" if self.function in LOGIC else ""
        return kind(f"{self}: cannot be computed on {types}{why(error)}{hint}")

    def to_arrow(self) -> Any:
        args = [arg.to_arrow() for arg in self.args]
        if not kernels.seen_through(self.function, self.options) or any(arg is None for arg in args):
            return None
        return kernels.apply(self.function, args, self.options)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return Call(self.function, tuple(children), self.options)

    def __str__(self) -> _str:
        shown = [_str(arg) for arg in self.args] + [f"{key}={value!r}" for key, value in self.options.items()]
        sign = kernels.SIGNS.get(self.function)
        return f"({shown[0]} {sign} {shown[1]})" if sign else f"{self.function}({', '.join(shown)})"


class Alias(Expr):
    """An expression under another name."""

    def __init__(self, expr: Expr, name: _str) -> None:
        self.expr = expr
        self._name = name

    @property
    def name(self) -> _str:
        return self._name

    def children(self) -> Sequence[Expr]:
        return (self.expr,)

    def evaluate(self, block: Block) -> Any:
        return self.expr.evaluate(block)

    def to_arrow(self) -> Any:
        return self.expr.to_arrow()

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return Alias(children[0], self._name)

    def __str__(self) -> _str:
        return f"{self.expr}.alias({self._name!r})"


class Udf(Expr):
    """A user's function of whole columns.

    Args:
        function: the function.
        args: what it is given.
        return_dtype: as what its result goes on; None: as it comes.
        keywords: the names of the last arguments, if they have some.
    """

    def __init__(
        self,
        function: UserFunction,
        args: tuple[Expr, ...],
        return_dtype: pa.DataType | None,
        keywords: tuple[_str, ...] = (),
    ) -> None:
        self.function = function
        self.args = args
        self.return_dtype = return_dtype
        self.keywords = keywords

    def children(self) -> Sequence[Expr]:
        return self.args

    def evaluate(self, block: Block) -> Any:
        values = [blocks.column(as_column(arg.evaluate(block), block.num_rows)) for arg in self.args]
        named = len(values) - len(self.keywords)
        try:
            found = self.function.ready()(*values[:named], **dict(zip(self.keywords, values[named:], strict=True)))
            column = blocks.column(found)
            if len(column) != block.num_rows:
                raise ValueError(f"{self} returned {len(column)} values for {block.num_rows} rows")
        except Exception as error:
            explain(error, _str(self), 0, block)
            raise
        return pa.chunked_array([column if self.return_dtype is None else column.cast(self.return_dtype)])

    @property
    def pure(self) -> bool:
        return False

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return Udf(self.function, tuple(children), self.return_dtype, self.keywords)

    def __str__(self) -> _str:
        return f"{self.function.name}({', '.join(map(_str, self.args))})"


_str = str
"""`Expr.str` hides the type inside of the classes."""


def to_expr(value: Any) -> Expr:
    """An expression as it is; any other value as a literal."""
    return value if isinstance(value, Expr) else Literal(value)


def call(function: str, *args: Any) -> Expr:
    """A function on expressions and values. Strings beside dates are read as dates when they are compared, by Arrow."""
    return Call(function, tuple(to_expr(arg) for arg in args))


def as_column(value: Any, rows: int) -> Any:
    """What an expression gave, as a column: a scalar is repeated."""
    return pa.chunked_array([pa.repeat(value, rows)]) if isinstance(value, pa.Scalar) else value
