"""Which part of a value cannot be pickled.

Pickle's own message ("cannot pickle '_thread.lock' object") says nothing of where the lock is. After a failure,
and only then, this walks the value the way cloudpickle would (cells and globals of functions, attributes, items,
the state from `__reduce_ex__`) down to the smallest part that fails by itself, and prints the path to it:
`closure f -> cell 'db' -> .conn -> <socket>`.

The walk is bounded in depth and in the number of parts tried, since each try pickles the part.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

DEPTH_MAX = 20
TRIES_MAX = 500

Part = tuple[str, Any]
"""How the part is reached from its parent, and the part."""


class Culprit:
    """The smallest part found that cannot be pickled.

    Attributes:
        path: the steps from the value to it; the first is the value's own name.
        part: the part.
        parent: what it is in, or the value itself.
        error: what pickling the part raises.
    """

    __slots__ = ("error", "parent", "part", "path")

    def __init__(self, path: tuple[str, ...], part: Any, parent: Any, error: BaseException) -> None:
        self.path = path
        self.part = part
        self.parent = parent
        self.error = error

    def __str__(self) -> str:
        # The last step of a path names how the part is reached; what it is comes after it.
        return " -> ".join([*self.path, f"<{type_name(self.part)}>"] if len(self.path) > 1 else [*self.path])


def explain_unpicklable(value: Any, error: BaseException) -> str:
    """A message that says which part of `value` cannot be pickled, and how it got there.

    Args:
        value: what was to be pickled.
        error: what pickling it raised.
    """
    try:
        culprits = find_culprits(value, 1)
    except Exception:  # a walk through somebody's objects may raise anything; the first error is what counts
        culprits = []
    if not culprits:
        return f"{label(value)} cannot be pickled: {_text(error)}"
    culprit = culprits[0]
    return (
        f"Cannot pickle {culprit}: {_text(culprit.error)}. "
        "Create it inside the task or actor, pass what it is made from, or give its class a __reduce__ method."
    )


def find_culprits(value: Any, most: int, attempt: Callable[[Any], BaseException | None] | None = None) -> list[Culprit]:
    """The parts that cannot be pickled, up to `most` of them; empty when the value can be.

    Args:
        value: where to look.
        most: how many to find.
        attempt: returns what pickling a part raises; None uses cloudpickle.
    """
    search = _Search(most, attempt or pickling_error)
    error = search.attempt(value)
    if error is not None:
        search.visit(value, (label(value),), value, error)
    return search.found


class _Search:
    def __init__(self, most: int, attempt: Callable[[Any], BaseException | None]) -> None:
        self._most = most
        self._try = attempt
        self._tries = 0
        self._seen: set[int] = set()
        self._alive: list[Any] = []  # keeps temporary parts alive, so that no id is used twice
        self.found: list[Culprit] = []

    def attempt(self, part: Any) -> BaseException | None:
        self._tries += 1
        return self._try(part)

    def visit(self, value: Any, path: tuple[str, ...], parent: Any, error: BaseException) -> bool:
        """Find the culprits in `value`, which cannot be pickled. True if one was found in it or was known."""
        if id(value) in self._seen:
            return True
        self._seen.add(id(value))
        self._alive.append(value)
        below = False
        if len(path) < DEPTH_MAX:
            for step, part in parts_of(value):
                if self._tries >= TRIES_MAX or len(self.found) >= self._most:
                    break
                inner = self.attempt(part)
                if inner is not None and self.visit(part, (*path, step), value, inner):
                    below = True
        if not below and len(self.found) < self._most:
            self.found.append(Culprit(path, value, parent, error))
            below = True
        return below


def pickling_error(value: Any) -> BaseException | None:
    """What pickling the value raises, or None. References count as picklable."""
    import io

    from .serialization import _Pickler

    try:
        _Pickler(io.BytesIO()).dump(value)
    except Exception as error:
        return error
    return None


def parts_of(value: Any) -> Iterator[Part]:
    """What cloudpickle pickles along with the value, and how each part is called."""
    try:
        yield from _parts(value)
    except Exception:
        return  # an attribute or a __reduce_ex__ that raises: nothing more to see here


def _parts(value: Any) -> Iterator[Part]:
    if isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    elif isinstance(value, types.FunctionType):
        yield from _function_parts(value)
    elif isinstance(value, type):
        yield from ((f".{name}", part) for name, part in vars(value).items() if name not in ("__dict__", "__weakref__"))
    elif isinstance(value, (staticmethod, classmethod)):
        yield ".__func__", value.__func__
    elif isinstance(value, property):
        yield from (("." + n, f) for n, f in (("fget", value.fget), ("fset", value.fset), ("fdel", value.fdel)) if f)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield f"[{_short(key)}]", part
            yield f"key {_short(key)}", key
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{i}]", part) for i, part in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((f"item {_short(part)}", part) for part in value)
    else:
        yield from _object_parts(value)


def _function_parts(function: types.FunctionType) -> Iterator[Part]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f"cell {name!r}", cell.cell_contents
        except ValueError:
            continue  # a cell that is not filled yet
    for name in _names_used(function.__code__):
        if name in function.__globals__:
            yield f"global {name!r}", function.__globals__[name]
    for i, default in enumerate(function.__defaults__ or ()):
        yield f"default {i}", default
    for name, default in (function.__kwdefaults__ or {}).items():
        yield f"default {name!r}", default
    for name, part in vars(function).items():
        yield f".{name}", part


def _names_used(code: types.CodeType) -> list[str]:
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.extend(_names_used(constant))
    return list(dict.fromkeys(names))


def _object_parts(value: Any) -> Iterator[Part]:
    cls: Any = type(value)
    plain: Any = object
    if all(getattr(cls, name) is getattr(plain, name) for name in ("__reduce_ex__", "__reduce__", "__getstate__")):
        yield from ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items())
        yield from _slot_parts(value)
        return
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return
    args, state = reduced[1], reduced[2] if len(reduced) > 2 else None
    for part in args:
        yield from _state_parts(value, part)
    if state is not None:
        yield from _state_parts(value, state)


def _state_parts(value: Any, state: Any) -> Iterator[Part]:
    """The parts of a pickle state, by attribute name where the state is a dict of attributes."""
    own = getattr(value, "__dict__", {})
    if isinstance(state, dict) and all(isinstance(key, str) for key in state):
        yield from ((f".{name}" if name in own else f"state[{name!r}]", part) for name, part in state.items())
        return
    for name, part in own.items():
        if part is state:
            yield f".{name}", part
            return
    yield "its state", state


def _slot_parts(value: Any) -> Iterator[Part]:
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield f".{name}", getattr(value, name)


def label(value: Any) -> str:
    """A short name for a value at the head of a path."""
    if isinstance(value, types.FunctionType):
        return f"{'closure' if value.__closure__ else 'function'} {value.__qualname__.rpartition('<locals>.')[2]}"
    if isinstance(value, type):
        return f"class {value.__qualname__}"
    return f"<{type_name(value)}>"


def type_name(value: Any) -> str:
    """The name of a value's type, with its module if that says something."""
    cls = type(value)
    known = cls.__module__ in ("builtins", "__main__") or cls.__module__ == cls.__qualname__
    return cls.__qualname__ if known else f"{cls.__module__}.{cls.__qualname__}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".")
