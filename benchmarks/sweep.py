"""The processes of a benchmark, found by a mark in their environment: also those that have left its session, and outlive it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

MARK = "BENCH_MARK"
LIMIT_S = 10.0


def marked(mark: str) -> list[int]:
    """All processes that carry the mark, but this one."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue  # it has ended, or is another user's
    return [pid for pid in found if pid != os.getpid()]


def sweep(mark: str) -> None:
    """Kill what carries the mark, and what it starts meanwhile.

    Raises:
        TimeoutError: something does not go.
    """
    until = time.monotonic() + LIMIT_S
    while left := marked(mark):
        if time.monotonic() > until:
            raise TimeoutError(f"processes that do not end: {left}")
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it has ended meanwhile
        time.sleep(0.02)
