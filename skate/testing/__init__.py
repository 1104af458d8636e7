"""Helpers for tests of programs that use skate: wait for a condition, prove that nothing was left behind, break a cluster.

`plugin.py` makes fixtures of them, for pytest. Every name is imported at its first use: pytest loads the plugin in every project.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cuts import cut_connections
    from .faults import Faults
    from .leaks import Snapshot, assert_ended, assert_quiescent, eventually, session_processes
    from .nodes import Nodes

_LAZY = {
    "Faults": "faults",
    "Nodes": "nodes",
    "Snapshot": "leaks",
    "assert_ended": "leaks",
    "assert_quiescent": "leaks",
    "cut_connections": "cuts",
    "eventually": "leaks",
    "session_processes": "leaks",
}
"""Names and where they are."""


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    return value


__all__ = [
    "Faults",
    "Nodes",
    "Snapshot",
    "assert_ended",
    "assert_quiescent",
    "cut_connections",
    "eventually",
    "session_processes",
]
