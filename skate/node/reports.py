"""What other threads of the node have done, told to its own thread: a list, and a descriptor that wakes the loop."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable


class Reports:
    """Calls that the node's own thread is to make."""

    def __init__(self) -> None:
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable when there is something to do."""
        self._done: deque[Callable[[], None]] = deque()

    def add(self, what: Callable[[], None]) -> None:
        """From any thread: something is to be called."""
        self._done.append(what)
        os.eventfd_write(self.wake, 1)

    def on_event(self, _: int) -> bool:
        """In the node's thread: call it all."""
        try:
            os.eventfd_read(self.wake)
        except BlockingIOError:
            return True
        try:
            while self._done:
                self._done.popleft()()
        finally:
            if self._done:  # one of them has failed: the others are still to be heard
                os.eventfd_write(self.wake, 1)
        return True

    def close(self) -> None:
        """No thread reports any more."""
        os.close(self.wake)
