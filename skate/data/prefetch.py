"""Make values ahead of their use, on a thread of its own.

INV-1: when the iterator is closed, or has ended, the thread has ended, and with it whatever it iterated over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue
from typing import Any

LOOK_S = 1.0
"""How long either side waits before it looks whether the other is still there."""


class _Failed:
    """What the thread has raised."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


_END = object()


def ahead(source: Iterator[Any], depth: int, stop: Callable[[], None]) -> Iterator[Any]:
    """The values of `source`, up to `depth` of them made before they are asked for. It is closed in the end.

    Args:
        depth: 0: no thread; a value is made when it is asked for.
        stop: makes the source end soon, whatever it waits for; called from this thread, and only if it has not ended.
    """
    if depth == 0:
        try:
            yield from source
        finally:
            _close(source)
        return
    queue: Queue[Any] = Queue(depth)
    stopped = threading.Event()
    thread = threading.Thread(target=_fill, args=(source, queue, stopped), name="skate-data-prefetch", daemon=True)
    thread.start()
    try:
        yield from _taken(queue, thread)
    finally:
        stopped.set()
        if thread.is_alive():
            stop()
        thread.join()


def _fill(source: Iterator[Any], queue: Queue[Any], stopped: threading.Event) -> None:
    last: Any = _END
    try:
        for value in source:
            if not _put(queue, value, stopped):
                return
            del value
    except BaseException as error:
        last = _Failed(error)
    finally:
        _close(source)
        _put(queue, last, stopped)


def _put(queue: Queue[Any], value: Any, stopped: threading.Event) -> bool:
    while not stopped.is_set():
        try:
            queue.put(value, timeout=LOOK_S / 10)
        except Full:
            continue
        return True
    return False


def _taken(queue: Queue[Any], thread: threading.Thread) -> Iterator[Any]:
    while True:
        try:
            value = queue.get(timeout=LOOK_S)
        except Empty:
            if thread.is_alive() or not queue.empty():
                continue
            raise RuntimeError("the thread that makes batches has ended without saying why") from None
        if value is _END:
            return
        if isinstance(value, _Failed):
            raise value.error
        yield value
        del value


def _close(source: Iterator[Any]) -> None:
    close = getattr(source, "close", None)
    if close is not None:
        close()
