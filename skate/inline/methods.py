"""Methods that every actor has, whatever its class: `__ray_ready__`, `__ray_terminate__`, `__ray_call__`.

They are not attributes of the user's class, so whoever runs an actor finds methods with `find_method`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..client import current


def _ready(instance: Any) -> bool:
    """True, once the actor's `__init__` is done."""
    return True


def _terminate(instance: Any) -> None:
    """End the actor when the calls before this one are done."""
    assert current.runtime is not None
    current.runtime.exit_actor()


def _call(instance: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`function(instance, *args, **kwargs)`, in the actor."""
    return function(instance, *args, **kwargs)


BUILT_IN: dict[str, Callable[..., Any]] = {
    "__ray_ready__": _ready,
    "__ray_terminate__": _terminate,
    "__ray_call__": _call,
}


def find_method(instance: Any, name: str) -> Callable[..., Any]:
    """The bound method of an actor's instance; raises `AttributeError` when there is none."""
    built_in = BUILT_IN.get(name)
    if built_in is None:
        method: Callable[..., Any] = getattr(instance, name)
        return method
    from functools import partial

    return partial(built_in, instance)
