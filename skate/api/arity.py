"""Which arguments a function takes, so that a wrong call fails where it is made and not in a worker.

`inspect.signature(f).bind(...)` takes microseconds; a call that is right must cost next to nothing. So the bounds
on the number of positional arguments are kept as two numbers, which decide most calls; keywords are checked
with set operations; only a call that is wrong is looked at one argument at a time, to say what is wrong.

The parameters come from the code object and not from `__wrapped__`: a decorator's `*args, **kwargs` accepts what
it accepts, as in a plain call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

MANY = 1 << 30
"""The upper bound with `*args`."""

_SHAPES_MAX = 64
"""Shapes of right calls (number of positional arguments, names of the others) that are remembered per callable."""

_VARARGS, _VARKEYWORDS = 0x04, 0x08
GENERATOR, COROUTINE, ASYNC_GENERATOR = 0x20, 0x80, 0x200
"""Flags of code objects, as in `inspect`."""


class Arity:
    """The parameters of a callable.

    Attributes:
        low, high: a call with only positional arguments is right when their number is in [low, high].
            `low > high` when there are required keyword-only parameters: such calls always go to `check`.
    """

    __slots__ = (
        "_keywords",
        "_names",
        "_only",
        "_positional_only",
        "_required",
        "_right",
        "_varkeywords",
        "high",
        "low",
    )

    def __init__(
        self,
        names: Collection[str],
        positional_only: int,
        required: int,
        keyword_only: Collection[str],
        keyword_required: Collection[str],
        varargs: bool,
        varkeywords: bool,
    ) -> None:
        self._names = tuple(names)
        self._positional_only = positional_only
        self._required = required
        self._only = frozenset(keyword_required)
        self._keywords = frozenset(self._names[positional_only:]) | frozenset(keyword_only)
        self._varkeywords = varkeywords
        self._right: set[tuple[Any, ...]] = set()
        self.high = MANY if varargs else len(self._names)
        self.low = MANY + 1 if keyword_required else required

    def pack(self) -> list[Any]:
        """As a list of plain values, for `Arity(*packed)`."""
        extra = sorted(self._keywords - set(self._names))
        varargs = self.high == MANY
        return [
            list(self._names), self._positional_only, self._required, extra, sorted(self._only), varargs,
            self._varkeywords,
        ]  # fmt: skip

    def check(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise `TypeError`, as a call would, when the arguments don't fit; `name` is the callable's, for the text."""
        given = len(args)
        shape = (given, *kwargs)
        if shape in self._right:
            return
        self._check(name, given, kwargs)
        if len(self._right) < _SHAPES_MAX:
            self._right.add(shape)

    def _check(self, name: str, given: int, kwargs: dict[str, Any]) -> None:
        keys = kwargs.keys()
        names = self._names
        if given > self.high:
            raise TypeError(f"{name}() takes {self._count()} but {given} {_were(given)} given")
        if not self._varkeywords and not keys <= self._keywords:
            unknown = sorted(keys - self._keywords)[0]
            if unknown in names:
                raise TypeError(f"{name}() got the positional-only argument {unknown!r} passed as a keyword argument")
            raise TypeError(f"{name}() got an unexpected keyword argument {unknown!r}{_hint(unknown, self._keywords)}")
        doubled = keys & set(names[self._positional_only : given])
        if doubled:
            raise TypeError(f"{name}() got multiple values for argument {sorted(doubled)[0]!r}")
        bindable = self._keywords & keys
        missing = [each for each in names[given : self._required] if each not in bindable]
        if missing:
            raise TypeError(f"{name}() missing {_listing(missing, 'required positional argument')}")
        unset = sorted(self._only - keys)
        if unset:
            raise TypeError(f"{name}() missing {_listing(unset, 'required keyword-only argument')}")

    def _count(self) -> str:
        high, low = len(self._names), self._required
        if high == low:
            return f"{high} positional argument{'' if high == 1 else 's'}"
        return f"from {low} to {high} positional arguments"


ANYTHING = Arity((), 0, 0, (), (), True, True)
"""For callables whose parameters are not known: built-in functions, instances with `__call__`."""


def arity_of(function: Callable[..., Any], skip_first: bool = False) -> Arity:
    """The arity of a Python function; `skip_first` leaves out `self` or `cls`. `ANYTHING` if it has no code."""
    code = getattr(function, "__code__", None)
    if code is None:
        return ANYTHING
    positional = code.co_varnames[: code.co_argcount]
    required = code.co_argcount - len(function.__defaults__ or ())
    positional_only = code.co_posonlyargcount
    if skip_first:
        positional = positional[1:]
        required, positional_only = max(0, required - 1), max(0, positional_only - 1)
    keyword_only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    defaults = function.__kwdefaults__ or {}
    needed = [name for name in keyword_only if name not in defaults]
    flags = code.co_flags
    return Arity(
        positional, positional_only, required, keyword_only, needed, bool(flags & _VARARGS), bool(flags & _VARKEYWORDS)
    )


def code_flags(function: Any) -> int:
    """The flags of the function's code: is it a generator, a coroutine? 0 when it has no code."""
    while True:
        if hasattr(function, "__code__"):
            return int(function.__code__.co_flags)
        if hasattr(function, "func"):  # functools.partial
            function = function.func
        elif isinstance(function, (staticmethod, classmethod)):
            function = function.__func__
        else:
            return 0


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _listing(names: list[str], noun: str) -> str:
    quoted = [repr(name) for name in names]
    text = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'}: {text}"


def _hint(name: str, known: Collection[str]) -> str:
    close = closest(name, known)
    return f". Did you mean {close!r}?" if close else ""


def closest(name: str, known: Collection[str]) -> str:
    """The name most like `name`, or "" when none is."""
    import difflib

    matches = difflib.get_close_matches(name, list(known), n=1)
    return matches[0] if matches else ""
