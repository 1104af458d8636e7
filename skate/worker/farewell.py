"""The last words of a worker that is about to be ended with its program: what it has counted, what has ended, and what it runs.

Its node asks by a signal: a worker that runs a task reads nothing. Python's handler runs in the main thread, between two steps of
the user's code, and also while that sleeps or waits; so it costs nothing until then. Whose C code lets no Python run does not
answer, and is ended without.

INV-1: nothing is said in the middle of the runtime's own work: the main thread may hold its lock.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from ..wire import forks, messages as m
from . import interrupts
from .doing import running_now

if TYPE_CHECKING:
    from .process import Worker

LOCK_S = 0.5
"""How long another thread may take with the runtime."""
RUNNING_MAX = 1000
"""So many calls of an actor that runs several are named."""


def listen(worker: Worker) -> None:
    """Answer the node's signal from now on."""
    signal.signal(forks.FAREWELL_SIGNAL, lambda *_: _say(worker))


def _say(worker: Worker) -> None:
    lock: Any = worker.runtime.lock
    if lock._is_owned():
        interrupts.again(signo=forks.FAREWELL_SIGNAL)
        return
    if not lock.acquire(timeout=LOCK_S):
        return
    try:
        worker.runtime.last_words()
        running = [(doing.task_id, doing.name, doing.seconds) for doing in running_now(worker)[:RUNNING_MAX]]
        worker.runtime.send(m.Farewell(running))
    finally:
        lock.release()
