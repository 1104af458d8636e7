"""How processes end: what the kernel says, what the process said itself, and what it printed last; remembered for a while."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from msgspec import to_builtins

from ..wire.forks import Reaped
from ..wire.messages import Death, Leaving

DEATHS_MAX = 1000


class Deaths:
    """The last deaths of a node's workers, but of those that were not needed any more."""

    def __init__(self) -> None:
        self._last: deque[dict[str, Any]] = deque(maxlen=DEATHS_MAX)

    def add(self, death: Death, **who: Any) -> None:
        """A worker has ended; `who`: what it was."""
        self._last.append({**who, "pid": death.pid, "at": time.time(), "death": death})

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
    """The death of a worker, for errors and state."""
    status = reaped.status
    signo = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    if leaving is not None:
        reason = leaving.reason
    elif signo:
        reason = f"killed by signal {signo} ({_name(signo)})"
    else:
        reason = f"it called os._exit or sys.exit with code {code}"
    return Death(
        reason,
        signo,
        code,
        reaped.memory_bytes,
        tail,
        intended=leaving is not None and leaving.intended,
        pid=reaped.pid,
    )


def _name(signo: int) -> str:
    try:
        return signal.Signals(signo).name
    except ValueError:
        return "unknown"
