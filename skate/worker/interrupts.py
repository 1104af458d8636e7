"""When a task that was cancelled may be interrupted: not while its thread loads a module.

A module whose loading ends in the middle is taken away again, but what it has loaded before stays: those modules are not bound to
the new one when it is loaded the next time. So the process would be of no use for tasks that need it (pandas, for one).
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

AGAIN_S = 0.001
LOADING_AGAIN_S = 0.05
"""Loading takes longer than what the runtime does."""
LOADER = "<frozen importlib._bootstrap>"


def is_loading(frame: FrameType | None) -> bool:
    """Whether a module is being loaded in a stack, given its innermost frame."""
    while frame is not None:
        if frame.f_code.co_filename == LOADER:
            return True
        frame = frame.f_back
    return False


def again(after_s: float = AGAIN_S, signo: int = signal.SIGINT) -> None:
    """Interrupt the main thread of this process soon, or send it another signal."""
    timer = threading.Timer(after_s, os.kill, (os.getpid(), signo))
    timer.daemon = True
    timer.start()
