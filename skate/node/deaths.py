"""How processes end: what the kernel says, what the process said itself, and what it printed last; remembered for a while."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from msgspec import to_builtins

from ..exceptions import describe_code, signal_name
from ..wire.forks import Reaped
from ..wire.messages import Death, Leaving
from .logs import DUMP

DEATHS_MAX = 1000
FAILURES_MAX = 100
"""So many deaths are told as failures of a node that is in no cluster, as many as a head remembers."""
LINES_MAX = 20
"""So many lines of output are told with a death."""
_OF_DUMP = ("  ", "Current thread", "Thread 0x", "Stack (", "Extension modules:", "Python runtime state:")
_FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')
_NOT_OF_USER = re.compile(r"/lib/python|/site-packages/|/dist-packages/|/skate/(worker|client)/|^<")


class Deaths:
    """The last deaths of a node's workers, but of those that were not needed any more."""

    def __init__(self) -> None:
        self._last: deque[dict[str, Any]] = deque(maxlen=DEATHS_MAX)
        self.failures: deque[tuple[float, str]] = deque(maxlen=FAILURES_MAX)
        """Of those that nobody had wanted: when, and what to say of it."""

    def add(self, death: Death, **who: Any) -> None:
        """A worker has ended; `who`: what it was."""
        self._last.append({**who, "pid": death.pid, "at": time.time(), "death": death})

    def failed(self, death: Death, what: str) -> None:
        """A worker has ended that should not have; `what`: the actor that it was."""
        text = f"a worker, pid {death.pid}{f' ({what})' if what else ''}, has died: {death.reason}"
        self.failures.append((time.monotonic(), text))

    def find(self, key: str, value: Any, limit: int) -> list[dict[str, Any]]:
        """The last ones of which something is so, or of all; the last first."""
        return [{**each, "death": to_builtins(each["death"])} for each in self._of(key, value, limit)]

    def _of(self, key: str, value: Any, limit: int) -> Iterator[dict[str, Any]]:
        for each in reversed(self._last):
            if limit <= 0:
                return
            if not key or each.get(key) == value:
                limit -= 1
                yield each


def describe(reaped: Reaped, tail: list[str], leaving: Leaving | None) -> Death:
    """The death of a worker, for errors and state; `tail`: what it has printed last."""
    place, tail = without_dump(tail)
    status = reaped.status
    signo = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    if leaving is not None:
        reason = leaving.reason
    elif signo:
        reason = f"killed by signal {signo} ({signal_name(signo) or 'unknown'})" + (f" in {place}" if place else "")
    else:
        reason = f"it called os._exit or sys.exit with code {describe_code(code or 0)}"
    return Death(
        reason,
        signo,
        code,
        reaped.memory_bytes,
        tail[-LINES_MAX:],
        intended=leaving is not None and leaving.intended,
        pid=reaped.pid,
    )


def without_dump(lines: list[str]) -> tuple[str, list[str]]:
    """Where the user's code was in a process that a signal has ended, if that was written; and the other lines.

    Example:
        >>> without_dump(["hello", "Fatal Python error: Aborted", "", '  File "/a.py", line 7 in load'])
        ('load, /a.py:7', ['hello'])
    """
    start = next((at for at, line in enumerate(lines) if line.startswith(DUMP)), None)
    if start is None:
        return "", lines
    dump = [line for line in lines[start + 1 :] if not line or line.startswith(_OF_DUMP)]
    others = [line for line in lines[start + 1 :] if line and not line.startswith(_OF_DUMP)]
    frames = [found for line in dump if (found := _FRAME.match(line))]
    of_user = next((frame for frame in frames if not _NOT_OF_USER.search(frame[1])), frames[0] if frames else None)
    return "" if of_user is None else f"{of_user[3]}, {of_user[1]}:{of_user[2]}", lines[:start] + others
