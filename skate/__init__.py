"""skate: tasks, actors and shared objects for Python, on one machine or many.

    import skate

    @skate.remote
    def square(x):
        return x * x

    print(skate.get([square.remote(i) for i in range(4)]))

A program written for Ray runs with `import skate as ray`, or unchanged after `skate.install_as_ray()`.

Only what every program needs is imported here; the rest is imported at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import exceptions
from .api.actors import exit_actor, get_actor, method
from .api.decorator import remote
from .api.lifecycle import init, is_initialized, shutdown
from .api.objects import as_completed, cancel, get, kill, put, wait, why
from .client.refs import DynamicObjectRefGenerator, ObjectRef, ObjectRefGenerator
from .version import __version__

if TYPE_CHECKING:
    from . import actor, remote_function, runtime_context, util
    from .api.actors import ActorClass, ActorHandle, ActorMethod
    from .api.alias import install_as_ray
    from .api.cluster import (
        available_resources,
        cluster_resources,
        get_gpu_ids,
        nodes,
        timeline,
    )
    from .api.context import RayContext, SkateContext
    from .api.executor import Executor
    from .api.functions import RemoteFunction
    from .runtime_context import get_runtime_context

_LAZY = {
    "ActorClass": "api.actors",
    "ActorHandle": "api.actors",
    "ActorMethod": "api.actors",
    "Executor": "api.executor",
    "RayContext": "api.context",
    "RemoteFunction": "api.functions",
    "SkateContext": "api.context",
    "available_resources": "api.cluster",
    "cluster_resources": "api.cluster",
    "get_gpu_ids": "api.cluster",
    "get_runtime_context": "runtime_context",
    "install_as_ray": "api.alias",
    "nodes": "api.cluster",
    "timeline": "api.cluster",
}
"""Public names that are imported at their first use, and where they are."""

_LAZY_MODULES = ("actor", "remote_function", "runtime_context", "util")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _LAZY:
        value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    elif name in _LAZY_MODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *globals(), *_LAZY, *_LAZY_MODULES})


__all__ = [
    "ActorClass",
    "ActorHandle",
    "ActorMethod",
    "DynamicObjectRefGenerator",
    "Executor",
    "ObjectRef",
    "ObjectRefGenerator",
    "RayContext",
    "RemoteFunction",
    "SkateContext",
    "__version__",
    "actor",
    "as_completed",
    "available_resources",
    "cancel",
    "cluster_resources",
    "exceptions",
    "exit_actor",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "install_as_ray",
    "is_initialized",
    "kill",
    "method",
    "nodes",
    "put",
    "remote",
    "remote_function",
    "runtime_context",
    "shutdown",
    "timeline",
    "util",
    "wait",
    "why",
]
