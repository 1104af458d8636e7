"""The runtime of this process: set by `init()` in a driver, and by the worker's start in a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .waist import Runtime

runtime: Runtime | None = None
"""Read on every call, so it is a plain module variable."""


def set_runtime(new: Runtime | None) -> None:
    """Make `new` the runtime of this process; None after shutdown."""
    global runtime
    runtime = new
