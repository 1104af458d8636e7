"""Helpers on top of the public API, under the names of `ray.util`. Each is imported at its first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..api.cluster import list_named_actors
    from .actor_pool import ActorPool
    from .check_serialize import inspect_serializability
    from .helpers import as_completed, map_unordered
    from .placement_group import (
        get_current_placement_group,
        get_placement_group,
        placement_group,
        placement_group_table,
        remove_placement_group,
    )

_LAZY = {
    "ActorPool": "skate.util.actor_pool",
    "as_completed": "skate.util.helpers",
    "inspect_serializability": "skate.util.check_serialize",
    "list_named_actors": "skate.api.cluster",
    "get_current_placement_group": "skate.util.placement_group",
    "get_placement_group": "skate.util.placement_group",
    "map_unordered": "skate.util.helpers",
    "placement_group": "skate.util.placement_group",
    "placement_group_table": "skate.util.placement_group",
    "remove_placement_group": "skate.util.placement_group",
}

_LAZY_MODULES = ("actor_pool", "check_serialize", "helpers", "metrics", "queue", "scheduling_strategies", "state")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
    elif name in _LAZY_MODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


__all__ = [
    "ActorPool",
    "as_completed",
    "get_current_placement_group",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "map_unordered",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
]
