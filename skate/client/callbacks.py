"""A thread for the user's callbacks: user code never runs inside a handler, with the runtime's lock held."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable


class Callbacks:
    """Runs callbacks one after the other, on a thread that starts with the first of them."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None] | None] | None = None

    def later(self, callback: Callable[[], None]) -> None:
        """Call back soon. Needs the runtime's lock."""
        if self._queue is None:
            self._queue = queue.SimpleQueue()
            threading.Thread(target=_run, args=(self._queue,), name="skate-callbacks", daemon=True).start()
        self._queue.put(callback)

    def close(self) -> None:
        """End the thread, after what was asked for so far."""
        if self._queue is not None:
            self._queue.put(None)


def _run(callbacks: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (callback := callbacks.get()) is not None:
        try:
            callback()
        except Exception:  # one callback's failure must not stop the others
            traceback.print_exc()
