"""The end of all that a process has started, and what that has started in turn.

The kernel kills a process when its parent ends, if it was told so, but not what that process has started itself: an installer is
told, the compilers that it runs are not. So a process that starts what it does not know is the reaper of its descendants: who
loses its parent becomes its child. A signal tells it that its own parent has ended, and it ends them all.
"""

from __future__ import annotations

import os
import signal
import time

END_S = 5.0
"""How long killed processes may take to end: one that waits for a disk may take for ever."""
LOOK_AGAIN_S = 0.002


def children() -> list[int]:
    """Those of this process, which has one thread."""
    with open(f"/proc/self/task/{os.getpid()}/children") as listing:
        return [int(pid) for pid in listing.read().split()]


def end_all() -> None:
    """Kill every descendant of this process, which is their reaper, and wait for their ends."""
    until = time.monotonic() + END_S
    killed: set[int] = set()
    while time.monotonic() < until:
        for pid in set(children()) - killed:
            killed.add(pid)
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue  # it has ended, or is another user's by now
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
            while ended:
                killed.discard(ended)
                ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        time.sleep(LOOK_AGAIN_S)
