"""How a process ended, in words: what the kernel says, what the process said itself, and what it printed last."""

from __future__ import annotations

import os
import signal

from ..wire.forks import Reaped
from ..wire.messages import Death, Leaving


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
