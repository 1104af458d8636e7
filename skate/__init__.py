"""skate: tasks, actors and shared objects for Python, on one machine or many.

    import skate

    @skate.remote
    def square(x):
        return x * x

    print(skate.get([square.remote(i) for i in range(4)]))

A program written for Ray runs with `import skate as ray`, or unchanged after `skate.install_as_ray()`.

Every name is imported at its first use: the node and its workers import parts of skate without the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from . import actor, exceptions, job_submission, remote_function, runtime_context, util
    from .api.actors import ActorClass, ActorHandle, ActorMethod, exit_actor, get_actor, method
    from .api.alias import install_as_ray
    from .api.cluster import (
        available_resources,
        cluster,
        cluster_resources,
        get_gpu_ids,
        nodes,
        timeline,
    )
    from .api.context import RayContext, SkateContext
    from .api.decorator import remote
    from .api.executor import Executor
    from .api.functions import RemoteFunction
    from .api.lifecycle import init, is_initialized, shutdown
    from .api.objects import as_completed, cancel, get, kill, put, wait, why
    from .client.refs import DynamicObjectRefGenerator, ObjectRef, ObjectRefGenerator
    from .runtime_context import get_runtime_context

_LAZY = {
    "ActorClass": "api.actors",
    "ActorHandle": "api.actors",
    "ActorMethod": "api.actors",
    "DynamicObjectRefGenerator": "client.refs",
    "Executor": "api.executor",
    "ObjectRef": "client.refs",
    "ObjectRefGenerator": "client.refs",
    "RayContext": "api.context",
    "RemoteFunction": "api.functions",
    "SkateContext": "api.context",
    "as_completed": "api.objects",
    "available_resources": "api.cluster",
    "cancel": "api.objects",
    "cluster": "api.cluster",
    "cluster_resources": "api.cluster",
    "exit_actor": "api.actors",
    "get": "api.objects",
    "get_actor": "api.actors",
    "get_gpu_ids": "api.cluster",
    "get_runtime_context": "runtime_context",
    "init": "api.lifecycle",
    "install_as_ray": "api.alias",
    "is_initialized": "api.lifecycle",
    "kill": "api.objects",
    "method": "api.actors",
    "nodes": "api.cluster",
    "put": "api.objects",
    "remote": "api.decorator",
    "shutdown": "api.lifecycle",
    "timeline": "api.cluster",
    "wait": "api.objects",
    "why": "api.objects",
}
"""Public names and where they are."""

_LAZY_MODULES = (
    "actor",
    "data",
    "exceptions",
    "job_submission",
    "remote_function",
    "runtime_context",
    "runtime_env",
    "util",
)


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
    from importlib.util import find_spec

    modules = [
        name for name in _LAZY_MODULES if name != "data" or find_spec("pyarrow")
    ]  # whoever lists names gets them all
    return sorted({*__all__, *globals(), *_LAZY, *modules})


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
    "cluster",
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
    "job_submission",
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
