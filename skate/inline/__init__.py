"""`skate.init(mode="inline")`: every task and actor in this process, so that a debugger and a profiler work.

The semantics are those of the real runtime as far as one process goes: arguments and results are copied by
pickling, errors arrive wrapped with their traceback, resources are checked, actors end with their last handle. A
task runs at its `.remote()`, in the thread that calls it; only the methods of async actors run elsewhere, on
the event loop of one thread.

runtime  the protocol: tasks, get, wait    actors   instances, names, lifetimes, the event loop
values   making, copying, and errors       streams   generators
methods  the methods that every actor has
"""

from .runtime import InlineRuntime

__all__ = ["InlineRuntime"]
