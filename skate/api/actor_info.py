"""What a handle knows of its actor's class: it travels as `meta`, so that a handle needs no class to check calls."""

from __future__ import annotations

import pickle
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..client.specs import ActorOptions, MethodOptions
from .arity import ASYNC_GENERATOR, COROUTINE, GENERATOR, Arity, arity_of, code_flags
from .options import build_method_options

OPTIONS_ATTRIBUTE = "__skate_method_options__"
"""Where `@skate.method(...)` leaves a method's options."""

_NOT_CALLED = frozenset({"__init__", "__new__", "__init_subclass__", "__class_getitem__", "__del__"})

_METHODS_OF_ALL = {
    "__ray_ready__": Arity((), 0, 0, (), (), False, False),
    "__ray_terminate__": Arity((), 0, 0, (), (), False, False),
    "__ray_call__": Arity(("function",), 1, 1, (), (), True, True),
}


class Method(Struct, frozen=True, eq=False):
    """A method of an actor: its options, its parameters, and whether it yields."""

    options: MethodOptions
    arity: Arity
    is_generator: bool = False


class ActorInfo(Struct, frozen=True, eq=False):
    """The class of an actor as its handles see it.

    Attributes:
        class_name: for messages and `repr`.
        methods: by name.
        attributes: names of properties and other attributes of the class, which a handle cannot reach.
        groups: names of its concurrency groups.
        max_pending_calls: unfinished calls per handle; -1 is without limit.
        max_task_retries: the default of its methods.
        is_async: its methods run on an event loop.
    """

    class_name: str
    methods: dict[str, Method]
    attributes: tuple[str, ...]
    groups: tuple[str, ...]
    max_pending_calls: int
    max_task_retries: int
    is_async: bool


def class_attributes(cls: type) -> dict[str, Any]:
    """All attributes of a class and its bases but those of `object`, as they stand in the class bodies."""
    attributes: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base is not object:
            attributes.update(vars(base))
    return attributes


def methods_of(cls: type) -> dict[str, Any]:
    """The methods that a handle can call: raw attributes (functions, static and class methods, ...) by name."""
    return {
        name: raw
        for name, raw in class_attributes(cls).items()
        if name not in _NOT_CALLED
        and not isinstance(raw, type)
        and (
            callable(raw)
            or isinstance(raw, (staticmethod, classmethod))
            or (hasattr(raw, "func") and callable(raw.func))
        )
    }


def has_async_method(cls: type) -> bool:
    """True if a method is `async def`: then the actor has an event loop."""
    return any(code_flags(raw) & (COROUTINE | ASYNC_GENERATOR) for raw in methods_of(cls).values())


def _method(name: str, raw: Any, default_retries: int, class_name: str) -> Method:
    is_static = isinstance(raw, staticmethod)
    function = raw.__func__ if isinstance(raw, (staticmethod, classmethod)) else raw
    given = getattr(function, OPTIONS_ATTRIBUTE, {})
    is_generator = bool(code_flags(function) & (GENERATOR | ASYNC_GENERATOR))
    options = replace(build_method_options(given, name, is_generator, default_retries), class_name=class_name)
    return Method(options, arity_of(function, skip_first=not is_static), is_generator)


def describe_class(cls: type, options: ActorOptions) -> ActorInfo:
    """The info of a class with these options.

    Raises:
        ValueError: a method names a concurrency group that the actor does not have.
    """
    retries, class_name = options.max_task_retries, options.class_name
    methods = {name: _method(name, raw, retries, class_name) for name, raw in methods_of(cls).items()}
    for name, method in methods.items():
        group = method.options.concurrency_group
        if group and group not in options.concurrency_groups:
            known = ", ".join(options.concurrency_groups) or "none"
            raise ValueError(
                f"Method {name} of {cls.__name__} is in the concurrency group {group!r}, but the actor's groups are: "
                f"{known}. Add it with @skate.remote(concurrency_groups={{{group!r}: 1}})."
            )
    for name, arity in _METHODS_OF_ALL.items():
        methods[name] = Method(MethodOptions(name, max_task_retries=retries, class_name=class_name), arity)
    attributes = [name for name in class_attributes(cls) if name not in methods and not name.startswith("__")]
    return ActorInfo(
        options.class_name,
        methods,
        tuple(attributes),
        tuple(options.concurrency_groups),
        options.max_pending_calls,
        options.max_task_retries,
        options.is_async,
    )


def pack_info(info: ActorInfo) -> bytes:
    """The info as bytes that any process can read without the user's code, but for exception classes to retry."""
    import msgspec

    methods = {}
    for name, method in info.methods.items():
        each = method.options
        retried = each.retry_exceptions
        classes = b"" if retried in ((), (Exception,)) else _dumps(retried)
        methods[name] = [
            each.num_returns, each.max_task_retries, bool(retried), classes, each.concurrency_group, each.backpressure,
            method.arity.pack(), method.is_generator,
        ]  # fmt: skip
    return msgspec.msgpack.encode(
        [
            info.class_name, methods, info.attributes, info.groups, info.max_pending_calls, info.max_task_retries,
            info.is_async,
        ]
    )  # fmt: skip


_decoded: dict[bytes, ActorInfo] = {}
_MAX_DECODED = 256
"""Infos kept per process: many handles of one class share one."""


def unpack_info(meta: bytes) -> ActorInfo:
    """The reverse of `pack_info`; the same object for the same bytes."""
    info = _decoded.get(meta)
    if info is None:
        import msgspec

        class_name, methods, attributes, groups, pending, retries, is_async = msgspec.msgpack.decode(meta)
        table = {name: _unpack_method(class_name, name, *fields) for name, fields in methods.items()}
        info = ActorInfo(class_name, table, tuple(attributes), tuple(groups), pending, retries, is_async)
        if len(_decoded) >= _MAX_DECODED:
            _decoded.clear()
        _decoded[meta] = info
    return info


def _unpack_method(
    class_name: str,
    name: str,
    num_returns: int,
    retries: int,
    retry: bool,
    classes: bytes,
    group: str,
    backpressure: int,
    arity: list[Any],
    is_generator: bool,
) -> Method:
    retried: tuple[type[BaseException], ...] = ()
    if retry:
        retried = pickle.loads(classes) if classes else (Exception,)
    options = MethodOptions(name, num_returns, retries, retried, group, backpressure, class_name)
    return Method(options, Arity(*arity), is_generator)


def _dumps(value: Any) -> bytes:
    import cloudpickle

    data: bytes = cloudpickle.dumps(value, protocol=5)
    return data
