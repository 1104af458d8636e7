"""Ctrl-C in a driver: prompt, but never in the middle of the runtime's own bookkeeping.

A `KeyboardInterrupt` may strike between any two bytecodes of the main thread. While that thread holds the runtime's lock it
is put off for a millisecond at a time; it arrives as soon as the lock is free, within microseconds of work.

The kernel of a notebook puts Python's own handler back before each cell, so there the guard is installed again in each.
"""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .display import notebook
from .pump import Pump

if TYPE_CHECKING:
    from .runtime import ClientRuntime

RETRY_S = 0.001


INTERRUPTIBLE = {Pump.turn.__code__, Pump._spin.__code__, Pump._sleep.__code__}
"""Where the pump waits. Elsewhere in it an interrupt could strike between taking the lead and noting it."""


def _in_pump(frame: Any) -> bool:
    """Whether the interrupted code is the pump's bookkeeping."""
    for _ in range(4):
        if frame is None:
            return False
        if frame.f_code.co_filename == Pump.turn.__code__.co_filename:
            return frame.f_code not in INTERRUPTIBLE
        frame = frame.f_back
    return False


def _swallows(frame: Any) -> bool:
    """Whether Python would print the exception and forget it: in a finalizer, or in a callback of a weak reference."""
    for _ in range(8):
        if frame is None:
            return False
        if frame.f_code.co_name == "__del__" or frame.f_code.co_filename == weakref.__file__:
            return True
        frame = frame.f_back
    return False


def install(runtime: ClientRuntime) -> Callable[[], None]:
    """Guard the runtime against SIGINT, if the program has Python's own handler; returns what undoes it."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    old = signal.getsignal(signal.SIGINT)
    if old is not signal.default_int_handler:
        return lambda: None
    lock: Any = runtime.lock

    def handler(signo: int, frame: Any) -> None:
        if not runtime.closed and (lock._is_owned() or _in_pump(frame) or _swallows(frame)):
            timer = threading.Timer(RETRY_S, os.kill, (os.getpid(), signal.SIGINT))
            timer.daemon = True
            timer.start()
            return
        raise KeyboardInterrupt

    def guard(*_: object) -> None:
        if signal.getsignal(signal.SIGINT) is old:
            signal.signal(signal.SIGINT, handler)

    guard()
    shell = notebook()
    if shell is not None:
        shell.events.register("pre_run_cell", guard)

    def restore() -> None:
        if shell is not None:
            shell.events.unregister("pre_run_cell", guard)
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is handler:
            signal.signal(signal.SIGINT, old)

    return restore
