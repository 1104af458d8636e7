"""The decorator `remote`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar, cast, final, overload

from .actors import ActorClass, ActorHandle
from .functions import RemoteFunction
from .options import valid_options

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from ..client.refs import ObjectRef, ObjectRefGenerator

P = ParamSpec("P")
R = TypeVar("R")
K = TypeVar("K", bound=type[Any])
Y = TypeVar("Y")


@final
class _Unknown:
    """No function returns this: only functions without a return type match it, and so escape the next overloads."""


if TYPE_CHECKING:

    class GeneratorFunction(RemoteFunction[P, Y]):
        """How type checkers see a remote function that yields: its calls return a stream."""

        @overload  # type: ignore[override]
        def remote(self, *args: P.args, **kwargs: P.kwargs) -> ObjectRefGenerator[Y]: ...
        @overload
        def remote(self, a: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> ObjectRefGenerator[Y]: ...
        @overload
        def remote(self, a: Any, b: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> ObjectRefGenerator[Y]: ...
        @overload
        def remote(self, **kwargs: ObjectRef[Any]) -> ObjectRefGenerator[Y]: ...
        def remote(self, *args: Any, **kwargs: Any) -> Any: ...  # pyright: ignore[reportIncompatibleMethodOverride]


class _Decorator(Protocol):
    """What `remote(**options)` returns."""

    @overload
    def __call__(self, target: K, /) -> ActorClass[K]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, target: Callable[P, _Unknown], /) -> RemoteFunction[P, Any]: ...
    @overload
    def __call__(self, target: Callable[P, Generator[Y, Any, Any]], /) -> GeneratorFunction[P, Y]: ...
    @overload
    def __call__(self, target: Callable[P, R], /) -> RemoteFunction[P, R]: ...


class _AnyDecorator(Protocol):
    """What `remote(num_returns=...)` returns: how many references a call returns is not known to a type checker."""

    def __call__(self, target: Callable[P, Any], /) -> Any: ...


@overload
def remote(target: K, /) -> ActorClass[K]: ...  # type: ignore[overload-overlap]
@overload
def remote(target: Callable[P, _Unknown], /) -> RemoteFunction[P, Any]: ...
@overload
def remote(target: Callable[P, Generator[Y, Any, Any]], /) -> GeneratorFunction[P, Y]: ...
@overload
def remote(target: Callable[P, R], /) -> RemoteFunction[P, R]: ...
@overload
def remote(*, num_returns: int | Literal["streaming", "dynamic"], **options: Any) -> _AnyDecorator: ...
@overload
def remote(
    *,
    num_cpus: float | None = ...,
    num_gpus: float | None = ...,
    memory: float | None = ...,
    resources: Mapping[str, float] | None = ...,
    accelerator_type: str | None = ...,
    name: str | None = ...,
    max_retries: int | None = ...,
    retry_exceptions: bool | list[type[BaseException]] | tuple[type[BaseException], ...] = ...,
    max_calls: int | None = ...,
    scheduling_strategy: Any = ...,
    namespace: str | None = ...,
    get_if_exists: bool = ...,
    lifetime: Literal["detached", "non_detached"] | None = ...,
    max_restarts: int | None = ...,
    max_task_retries: int | None = ...,
    max_concurrency: int | None = ...,
    concurrency_groups: Mapping[str, int] | None = ...,
    max_pending_calls: int | None = ...,
    **options: Any,
) -> _Decorator: ...
def remote(target: Any = None, /, **options: Any) -> Any:
    """Make a function run as tasks, or a class as actors.

    Args:
        target: the function or class, when used without parentheses or called directly.
        options: options of the task or actor, see "Tasks" and "Actors" in the documentation.

    Returns:
        A `RemoteFunction` or an `ActorClass`; with options only, a decorator that makes one.

    Raises:
        TypeError: the target is neither a function nor a class, or is remote already.
        ValueError: an unknown option, or a value that is not allowed.

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline")
        >>> @skate.remote
        ... def inc(x: int) -> int:
        ...     return x + 1
        >>> skate.get(inc.remote(1))
        2
        >>> skate.shutdown()
    """
    if target is not None:
        if options:
            raise TypeError("remote() takes a function or class, or options, not both: use remote(**options)(target).")
        return make_remote(target, {})
    if not options:
        raise TypeError(
            "Use @remote without parentheses, or with options such as @remote(num_cpus=2). "
            f"Options of tasks: {', '.join(valid_options('t'))}. Options of actors: {', '.join(valid_options('a'))}."
        )
    return lambda target: make_remote(target, options)


def make_remote(target: Any, options: dict[str, Any]) -> RemoteFunction[..., Any] | ActorClass[Any]:
    """The remote function or actor class of a function or class."""
    if isinstance(target, (RemoteFunction, ActorClass, ActorHandle)):
        raise TypeError(f"{target!r} is remote already: to change its options, use .options(...).")
    if isinstance(target, type):
        return ActorClass(cast("type[Any]", target), options)
    if isinstance(target, staticmethod):
        target = target.__func__
    if callable(target) and not isinstance(target, classmethod):
        return RemoteFunction(target, options)
    raise TypeError(f"remote() needs a function or a class, not {type(target).__name__}.")
