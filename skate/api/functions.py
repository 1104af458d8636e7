"""Remote functions.

`RemoteFunction.remote` is the hottest path of the whole interface: it reads the runtime, compares two numbers with
the length of the arguments, and hands over. Everything that can be known before (options, arity, resources) is
worked out when the function is decorated; whether the cluster can run it at all is asked once per runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, ParamSpec, TypeVar, overload

from ..client import current
from ..client.refs import ObjectRef
from ..client.specs import FunctionSpec
from ..exceptions import UnsupportedError
from .arity import ASYNC_GENERATOR, COROUTINE, GENERATOR, arity_of, code_flags
from .options import build_task_options, check_options

if TYPE_CHECKING:
    from ..client.waist import Runtime
    from .mapping import MapIterator

P = ParamSpec("P")
R = TypeVar("R")

_MAX_VARIANTS = 64
"""Option sets remembered per function, so that `f.options(...)` in a loop prepares the function once."""

_COPIED = ("__module__", "__name__", "__qualname__", "__doc__")


if TYPE_CHECKING:

    class _AnyReturns(Generic[P]):
        """A remote function that returns what `num_returns` says, which a type checker cannot follow."""

        def remote(self, *args: Any, **kwargs: Any) -> Any: ...
        def options(self, **options: Any) -> _AnyReturns[P]: ...


def _hashable(value: Any) -> Any:
    """Equal resources are one key."""
    return ("a dict", *value.items()) if type(value) is dict else value


class RemoteFunction(Generic[P, R]):
    """A function that runs as a task: `f.remote(...)` starts it and returns a reference to its result.

    Made by `@skate.remote`.

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline")
        >>> @skate.remote
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> skate.get(double.remote(4))
        8
        >>> skate.shutdown()
    """

    __wrapped__: Callable[P, R]

    def __init__(self, function: Callable[P, R], options: dict[str, Any]) -> None:
        name = str(getattr(function, "__name__", None) or type(function).__name__)
        flags = code_flags(function)
        if flags & (COROUTINE | ASYNC_GENERATOR):
            raise ValueError(
                f"{name} is an async function: tasks are plain functions. "
                f"Call asyncio.run(...) inside one, or make {name} a method of an actor."
            )
        self._user_options = options
        self._spec = FunctionSpec(function, build_task_options(options, name, bool(flags & GENERATOR)))
        arity = arity_of(function)
        self._arity = arity
        self._low = arity.low
        self._high = arity.high
        self._checked: Runtime | None = None
        self._variants: dict[Any, RemoteFunction[P, R]] = {}
        for attribute in _COPIED:
            value = getattr(function, attribute, None)
            if value is not None:
                setattr(self, attribute, value)
        self.__name__ = name
        self.__wrapped__ = function

    if TYPE_CHECKING:
        # A reference may stand for any argument. The first signature checks plain arguments; the others accept a
        # call as soon as one of its positional arguments, or each of its keyword arguments, is a reference.
        @overload
        def remote(self, *args: P.args, **kwargs: P.kwargs) -> ObjectRef[R]: ...
        @overload
        def remote(self, a: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> ObjectRef[R]: ...
        @overload
        def remote(self, a: Any, b: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> ObjectRef[R]: ...
        @overload
        def remote(self, a: Any, b: Any, c: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> ObjectRef[R]: ...
        @overload
        def remote(self, a: Any, b: Any, c: Any, d: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> ObjectRef[R]: ...
        @overload
        def remote(self, **kwargs: ObjectRef[Any]) -> ObjectRef[R]: ...
        def remote(self, *args: Any, **kwargs: Any) -> Any: ...
    else:

        def remote(self, *args, **kwargs):
            """Start the function as a task.

            Args:
                args, kwargs: as for the function; an `ObjectRef` among them stands for its value.

            Returns:
                A reference to the result; a list of them for `num_returns` of 2 or more, None for 0, an
                `ObjectRefGenerator` for a generator function.

            Raises:
                TypeError: the arguments don't fit the function.
                TaskUnschedulableError: no node could ever run it.
            """
            runtime = current.runtime
            if runtime is not self._checked or runtime is None:
                runtime = self._prepare()
            if kwargs or not self._low <= len(args) <= self._high:
                self._arity.check(self.__name__, args, kwargs)
            return runtime.submit(self._spec, args, kwargs)

    def _prepare(self) -> Runtime:
        """The runtime, started if need be, after a check that it could run this function."""
        from .lifecycle import get_runtime

        runtime = get_runtime()
        options = self._spec.options
        runtime.check_feasible(f"Task {options.name}", options.resources, "" if options.node_soft else options.node_id)
        self._checked = runtime
        return runtime

    @overload
    def options(  # pyright: ignore[reportOverlappingOverload]
        self, *, num_returns: int | Literal["streaming", "dynamic"], **options: Any
    ) -> _AnyReturns[P]: ...
    @overload
    def options(self, **options: Any) -> RemoteFunction[P, R]: ...
    def options(self, **options: Any) -> Any:
        """The same function with other options, which replace those of the decorator one by one.

        Args:
            options: any option of tasks but `max_calls`.

        Raises:
            ValueError, TypeError: an unknown option, or a value that is not allowed.
        """
        if "max_calls" in options:
            raise ValueError("max_calls can only be set in the decorator @skate.remote(max_calls=...).")
        key: Any = tuple((name, _hashable(value)) for name, value in options.items())
        try:
            variant = self._variants.get(key)
        except TypeError:  # a value that cannot be hashed
            key, variant = None, None
        if variant is None:
            check_options(options, "t")
            variant = RemoteFunction(self._spec.function, {**self._user_options, **options})
            if key is not None and len(self._variants) < _MAX_VARIANTS:
                self._variants[key] = variant
        return variant

    def map(
        self,
        *iterables: Iterable[Any],
        chunk_size: int | str = "auto",
        ordered: bool = True,
        max_in_flight: int | None = None,
    ) -> MapIterator[R]:
        """Apply the function to every item, many at a time; yields the results, not references.

        Args:
            iterables: as for the built-in `map`: one per parameter; they may be infinite.
            chunk_size: items per task; "auto" makes chunks that take some tens of milliseconds.
            ordered: yield in the order of the items; False yields as they are done.
            max_in_flight: tasks started and not yet read; None is enough to keep all CPUs busy.

        Returns:
            An iterator. Its first tasks start at once; dropping it cancels those not yet read.

        Raises:
            Exception: what the function raised for an item, when the iteration comes to it.

        Example:
            >>> import skate
            >>> context = skate.init(mode="inline")
            >>> square = skate.remote(lambda x: x * x)
            >>> list(square.map(range(5)))
            [0, 1, 4, 9, 16]
            >>> skate.shutdown()
        """
        from .mapping import MapIterator

        return MapIterator(self, iterables, chunk_size, ordered, max_in_flight)

    def bind(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Ray's graphs of tasks; not supported."""
        raise UnsupportedError(f"{self.__name__}.bind(): skate has no task graphs. Call .remote() and pass references.")

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            f"{self.__name__} is a remote function and cannot be called directly: use {self.__name__}.remote(...) "
            f"to run it as a task, or {self.__name__}.__wrapped__(...) to call it here."
        )

    def __repr__(self) -> str:
        return f"RemoteFunction({getattr(self, '__qualname__', self.__name__)})"

    def _repr_html_(self) -> str:
        from ..client.display import facts, options_text

        doc = (getattr(self.__wrapped__, "__doc__", None) or "").strip().partition("\n")[0]
        about = {"Does": doc} if doc else {}
        rows = {"Call with": f"{self.__name__}.remote(...)", **about, "Options": options_text(self._user_options)}
        return facts(f"Remote function {self.__name__}", rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteFunction, (self._spec.function, self._user_options)
