"""Actor classes, handles and their methods.

A handle's methods hold the reference of the actor and not the handle, so that there is no cycle: an actor whose
last handle is dropped ends at once, by the count of references, without the garbage collector. Each method object is
made at its first use and kept in the handle's `__dict__`, where Python finds it without help afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Protocol, TypeVar, overload

from msgspec.structs import replace

from ..client.refs import ObjectRef
from ..client.specs import ActorSpec, MethodOptions
from ..exceptions import ActorUnschedulableError, PendingCallsLimitExceeded, TaskUnschedulableError, UnsupportedError
from .actor_info import ActorInfo, describe_class, has_async_method, pack_info, unpack_info
from .arity import ANYTHING, Arity, arity_of, closest
from .lifecycle import get_runtime
from .options import build_actor_options, build_method_options, check_options

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)
K_co = TypeVar("K_co", covariant=True)
"""The type of a class object, `type[Counter]`: from it type checkers know the arguments and the instance."""
_OF_DISPLAYS = ("_repr_", "_ipython_")
"""How names begin that notebooks look for in whatever they show: they are for instances of a class, and are not called on it."""


class Constructor(Protocol[P, C_co]):
    """A class, as what makes its instances."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C_co: ...


class ActorMethod:
    """A method of an actor: `handle.method.remote(...)` calls it and returns a reference to the result."""

    __slots__ = ("__name__", "_arity", "_high", "_info", "_is_generator", "_low", "_options", "_pending", "_ref")

    def __init__(
        self,
        ref: ObjectRef[Any],
        info: ActorInfo,
        options: MethodOptions,
        arity: Arity,
        is_generator: bool,
        pending: _PendingCalls | None,
    ) -> None:
        self.__name__ = options.name
        self._ref = ref
        self._info = info
        self._options = options
        self._arity = arity
        self._is_generator = is_generator
        self._pending = pending
        # With a limit on pending calls every call takes the careful way.
        self._low = arity.low if pending is None else arity.high + 1
        self._high = arity.high

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method in the actor.

        Args:
            args, kwargs: as for the method; an `ObjectRef` among them stands for its value.

        Returns:
            A reference to the result; a list of them for `num_returns` of 2 or more, None for 0, an
            `ObjectRefGenerator` for a generator method.

        Raises:
            TypeError: the arguments don't fit the method.
            PendingCallsLimitExceeded: the handle has `max_pending_calls` unfinished calls.
        """
        if kwargs or not self._low <= len(args) <= self._high:
            arity = self._arity
            if kwargs or not arity.low <= len(args) <= arity.high:
                arity.check(f"{self._info.class_name}.{self.__name__}", args, kwargs)
            if self._pending is not None:
                return self._pending.call(self._ref, self._options, args, kwargs)
        ref = self._ref
        return ref._runtime.call(ref, self._options, args, kwargs)

    def options(self, **options: Any) -> ActorMethod:
        """The same method with other options for the calls made through it.

        Args:
            options: `num_returns`, `max_task_retries`, `retry_exceptions`, `concurrency_group`,
                `_generator_backpressure_num_objects`.

        Raises:
            ValueError, TypeError: an unknown option, or a value that is not allowed.
        """
        check_options(options, "m")
        group = options.get("concurrency_group")
        if group and group not in self._info.groups:
            known = ", ".join(self._info.groups) or "none"
            raise ValueError(f"{self._info.class_name} has no concurrency group {group!r}; it has: {known}.")
        built = build_method_options(options, self.__name__, self._is_generator, self._options.max_task_retries)
        fields = {
            "num_returns": "num_returns",
            "max_task_retries": "max_task_retries",
            "retry_exceptions": "retry_exceptions",
            "concurrency_group": "concurrency_group",
            "_generator_backpressure_num_objects": "backpressure",
        }
        changes = {field: getattr(built, field) for name, field in fields.items() if options.get(name) is not None}
        merged = replace(self._options, **changes)
        return ActorMethod(self._ref, self._info, merged, self._arity, self._is_generator, self._pending)

    def bind(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Ray's graphs of actor calls; not supported."""
        raise UnsupportedError(f"{self.__name__}.bind(): skate has no task graphs. Call .remote() and pass references.")

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        name = self.__name__
        raise TypeError(f"{name} is a method of an actor and cannot be called directly: use .{name}.remote(...).")

    def __repr__(self) -> str:
        return f"ActorMethod({self._info.class_name}.{self.__name__})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_method, (self._ref, pack_info(self._info), self._options)


def _rebuild_method(ref: ObjectRef[Any], meta: bytes, options: MethodOptions) -> ActorMethod:
    method: ActorMethod = getattr(ActorHandle(ref, meta), options.name)
    return ActorMethod(ref, method._info, options, method._arity, method._is_generator, method._pending)


class _PendingCalls:
    """Counts the unfinished calls of one handle."""

    def __init__(self, limit: int, class_name: str) -> None:
        self._limit = limit
        self._class_name = class_name
        self._unfinished: set[ObjectRef[Any]] = set()

    def call(self, actor: ObjectRef[Any], options: MethodOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make the call if there are less than the limit."""
        if len(self._unfinished) >= self._limit:
            raise PendingCallsLimitExceeded(
                f"This handle of {self._class_name} has {self._limit} unfinished calls, its max_pending_calls. "
                "Wait for some of them first, or create the actor with a higher limit."
            )
        runtime = actor._runtime
        result = runtime.call(actor, options, args, kwargs)
        if type(result) is ObjectRef:
            last = result
        elif type(result) is list:
            last = result[-1]
        elif result is None:
            return None  # num_returns=0: nothing tells when it is done
        else:
            last = runtime.stream_completed(result)
        self._unfinished.add(last)
        runtime.on_done(last, self._unfinished.discard, quick=True)
        return result


class ActorHandle(Generic[C]):
    """Refers to an actor. It can be passed to tasks and other actors; the actor lives while a handle does.

    Its attributes are the methods of the actor's class: `handle.method.remote(...)`.

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline")
        >>> @skate.remote
        ... class Counter:
        ...     n = 0
        ...     def add(self, by: int) -> int:
        ...         self.n += by
        ...         return self.n
        >>> counter = Counter.remote()
        >>> skate.get([counter.add.remote(1), counter.add.remote(2)])
        [1, 3]
        >>> skate.shutdown()
    """

    _skate_ref: ObjectRef[Any]
    _skate_meta: bytes

    def __init__(self, ref: ObjectRef[Any], meta: bytes) -> None:
        info = unpack_info(meta)
        state = self.__dict__
        state["_skate_ref"] = ref
        state["_skate_meta"] = meta
        state["_skate_info"] = info
        limit = info.max_pending_calls
        state["_skate_pending"] = None if limit < 0 else _PendingCalls(limit, info.class_name)

    def __getattr__(self, name: str) -> Any:
        state = self.__dict__
        info: ActorInfo | None = state.get("_skate_info")
        if info is None:  # half made, as while it is being copied
            raise AttributeError(name)
        method = info.methods.get(name)
        if method is None:
            raise AttributeError(_no_method(info, name))
        made = ActorMethod(
            state["_skate_ref"], info, method.options, method.arity, method.is_generator, state["_skate_pending"]
        )
        state[name] = made
        return made

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{name} cannot be set through a handle: give the actor a method that sets it.")

    @property
    def _actor_id(self) -> bytes:
        return self._skate_ref.binary()

    @property
    def _ray_actor_id(self) -> bytes:
        return self._skate_ref.binary()

    def __dir__(self) -> list[str]:
        return [*self.__dict__["_skate_info"].methods]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and self._skate_ref is other._skate_ref

    def __hash__(self) -> int:
        return hash(self._skate_ref)

    def __repr__(self) -> str:
        return f"Actor({self.__dict__['_skate_info'].class_name}, {self._skate_ref.hex()})"

    def _repr_html_(self) -> str:
        from ..client.display import facts

        info: ActorInfo = self.__dict__["_skate_info"]
        ref = self._skate_ref
        state = ref._runtime.why(ref).removeprefix("it is an actor, which is ")
        rows = {"Id": ref.hex(), "State": state, "Methods": _public(info)}
        return facts(f"Actor {info.class_name}", rows)

    def __copy__(self) -> ActorHandle[C]:
        return self

    def __deepcopy__(self, memo: object) -> ActorHandle[C]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorHandle, (self._skate_ref, self._skate_meta)


def _no_method(info: ActorInfo, name: str) -> str:
    if name in info.attributes:
        return (
            f"{name} is an attribute of {info.class_name} and not a method: add a method that returns it, or use "
            f"handle.__ray_call__.remote(lambda self: self.{name})."
        )
    close = closest(name, [each for each in info.methods if not each.startswith("__")])
    hint = f" Did you mean {close!r}?" if close else ""
    return f"{info.class_name} has no method {name!r}.{hint} Its methods: {_public(info)}."


def _public(info: ActorInfo) -> str:
    return ", ".join(each for each in info.methods if not each.startswith("__")) or "none"


def actor_ref(handle: ActorHandle[Any]) -> ObjectRef[Any]:
    """The reference behind a handle."""
    return handle._skate_ref


class ActorClass(Generic[K_co]):
    """A class whose instances are actors: `Class.remote(...)` starts one and returns its handle.

    Made by `@skate.remote`.
    """

    __wrapped__: type[Any]

    def __init__(self, cls: type[Any], options: dict[str, Any]) -> None:
        self._wrap(cls, options)
        self._describe()

    def _wrap(self, cls: type[Any], options: dict[str, Any]) -> None:
        self.__wrapped__ = cls
        self.__name__ = cls.__name__
        self.__qualname__ = cls.__qualname__
        self.__module__ = cls.__module__
        self.__doc__ = cls.__doc__
        self._user_options = options

    def _describe(self) -> None:
        cls, options = self.__wrapped__, self._user_options
        built = build_actor_options(options, cls.__name__, has_async_method(cls))
        info = describe_class(cls, built)
        self._spec = ActorSpec(cls, built, {name: method.options for name, method in info.methods.items()})
        self._meta = pack_info(info)
        self._arity = _constructor_arity(cls)

    if TYPE_CHECKING:

        @overload
        def remote(self: ActorClass[Constructor[P, C]], *args: P.args, **kwargs: P.kwargs) -> ActorHandle[C]: ...
        @overload
        def remote(
            self: ActorClass[Constructor[..., C]], a: ObjectRef[Any], /, *args: Any, **kwargs: Any
        ) -> ActorHandle[C]: ...
        @overload
        def remote(
            self: ActorClass[Constructor[..., C]], a: Any, b: ObjectRef[Any], /, *args: Any, **kwargs: Any
        ) -> ActorHandle[C]: ...
        @overload
        def remote(self: ActorClass[Constructor[..., C]], **kwargs: ObjectRef[Any]) -> ActorHandle[C]: ...
        def remote(self, *args: Any, **kwargs: Any) -> Any: ...
    else:

        def remote(self, *args, **kwargs):
            """Start an actor.

            Args:
                args, kwargs: as for the class; an `ObjectRef` among them stands for its value.

            Returns:
                Its handle, at once: an error of `__init__` is raised by the calls to its methods.

            Raises:
                TypeError: the arguments don't fit the class.
                ValueError: there is an actor of that name already.
                ActorUnschedulableError: no node could ever hold it.
            """
            arity = self._arity
            if kwargs or not arity.low <= len(args) <= arity.high:
                arity.check(self.__name__, args, kwargs)
            runtime = get_runtime()
            options = self._spec.options
            node_id = "" if options.node_soft else options.node_id
            for wanted in (options.placement, options.resources):
                try:
                    runtime.check_feasible(f"Actor {self.__name__}", wanted, node_id)
                except TaskUnschedulableError as error:
                    raise ActorUnschedulableError(str(error)) from None
            return ActorHandle(*runtime.create_actor(self._spec, args, kwargs, self._meta))

    def options(self, **options: Any) -> ActorClass[K_co]:
        """The same class with other options, which replace those of the decorator one by one.

        Args:
            options: any option of actors but `concurrency_groups`.

        Raises:
            ValueError, TypeError: an unknown option, or a value that is not allowed.
        """
        if "concurrency_groups" in options:
            raise ValueError("concurrency_groups can only be set in the decorator @skate.remote(...).")
        check_options(options, "a")
        return ActorClass(self.__wrapped__, {**self._user_options, **options})

    def bind(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Ray's graphs of actor calls; not supported."""
        raise UnsupportedError(f"{self.__name__}.bind(): skate has no task graphs. Use .remote(...).")

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            f"{self.__name__} is an actor class and cannot be called directly: use {self.__name__}.remote(...) to "
            f"start an actor, or {self.__name__}.__wrapped__(...) for a plain instance."
        )

    def __getattr__(self, name: str) -> Any:
        if name in ("_spec", "_meta", "_arity"):  # unpickled, and not described yet
            self._describe()
            return self.__dict__[name]
        # Constants, static and class methods of the class stay within reach.
        wrapped = self.__dict__.get("__wrapped__")
        if wrapped is None or (name.startswith("__") and name.endswith("__")) or name.startswith(_OF_DISPLAYS):
            raise AttributeError(name)
        return getattr(wrapped, name)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        # `class Special(Counter)` derives from the plain class, and needs its own @skate.remote.
        return (self.__wrapped__,)

    def __repr__(self) -> str:
        return f"ActorClass({self.__qualname__})"

    def _repr_html_(self) -> str:
        from ..client.display import facts, options_text

        rows = {
            "Start with": f"{self.__name__}.remote(...)",
            "Methods": _public(unpack_info(self._meta)),
            "Options": options_text(self._user_options),
        }
        return facts(f"Actor class {self.__name__}", rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_class, (self.__wrapped__, self._user_options)


def _restore_class(cls: type[Any], options: dict[str, Any]) -> ActorClass[Any]:
    """Unpickle. A class that refers to itself has no methods yet at this moment: it is described at its first use."""
    made: ActorClass[Any] = ActorClass.__new__(ActorClass)
    made._wrap(cls, options)
    return made


def _constructor_arity(cls: type) -> Arity:
    made: Any = cls
    plain: Any = object
    if made.__init__ is not plain.__init__:
        return arity_of(made.__init__, skip_first=True)
    if made.__new__ is not plain.__new__:
        return ANYTHING
    return Arity((), 0, 0, (), (), False, False)


def method(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Set the options of a method in an actor class.

    Args:
        options: `num_returns`, `max_task_retries`, `retry_exceptions`, `concurrency_group`,
            `_generator_backpressure_num_objects`.

    Raises:
        ValueError, TypeError: an unknown option, or a value that is not allowed.

    Example:
        >>> import skate
        >>> class Splitter:
        ...     @skate.method(num_returns=2)
        ...     def split(self, pair):
        ...         return pair
    """
    from .actor_info import OPTIONS_ATTRIBUTE

    check_options(options, "m")

    def mark(function: Any) -> Any:
        target = function.__func__ if isinstance(function, (staticmethod, classmethod)) else function
        setattr(target, OPTIONS_ATTRIBUTE, options)
        return function

    if function is None:
        if not options:
            raise ValueError("@skate.method() needs an option, such as @skate.method(num_returns=2).")
        return mark
    if not callable(function) and not isinstance(function, (staticmethod, classmethod)):
        raise TypeError(f"@skate.method is for methods, not for {type(function).__name__}.")
    return mark(function)


def get_actor(name: str, namespace: str | None = None) -> ActorHandle[Any]:
    """The handle of a named actor.

    Args:
        name: as in the option `name` of the actor.
        namespace: where to look; None is the namespace of this program.

    Raises:
        ValueError: there is no such actor.
    """
    if not isinstance(name, str):
        raise TypeError(f"The name of an actor is a string, not {name!r}.")
    if not name:
        raise ValueError("get_actor() needs a name that is not empty.")
    if namespace is not None and (not isinstance(namespace, str) or not namespace):
        raise ValueError(f"A namespace is a string that is not empty, or None, not {namespace!r}.")
    runtime = get_runtime()
    return ActorHandle(*runtime.get_actor(name, namespace or runtime.namespace))


def exit_actor() -> None:
    """End the actor that runs the current call; what is queued behind the call fails with `ActorDiedError`.

    Raises:
        TypeError: not called from a method of an actor.
    """
    from ..client import current

    if current.runtime is None:
        raise TypeError("exit_actor() can only be called from a method of an actor.")
    current.runtime.exit_actor()
