"""The log of one job: a file that its processes write to, read here in parts.

A job may print without end. When there is twice as much as is kept, the older half is cut out as a hole, so that offsets stay.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from ..store.arena import PAGE
from .logs import TAIL_LINES

PART_BYTES = 1 << 20
KEPT_BYTES = 512 << 20
LAST_BYTES = 2048
"""So much of it is in the message of a failure, which is kept by the head."""
_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


class JobLog:
    """What a job has printed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut = 0
        """So much of it, from the beginning, is not kept."""

    def open(self) -> int:
        """A descriptor to append to it."""
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def read(self, offset: int) -> tuple[bytes, int]:
        """What is next at an offset, and where that ends. What is not kept is skipped, with a line that says so.

        Raises:
            OSError: it cannot be read now, as when no descriptor can be had.
        """
        note = b""
        if offset < self.cut:
            note = f"[the first {self.cut} bytes are not kept]\n".encode()
            offset = self.cut
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # it has not begun
            return b"", 0
        try:
            data = os.pread(fd, PART_BYTES, max(0, offset))
        finally:
            os.close(fd)
        return note + data, offset + len(data)

    def last_lines(self) -> list[str]:
        """The last lines of it."""
        try:
            with open(self.path, "rb") as file:
                file.seek(max(0, file.seek(0, 2) - LAST_BYTES))
                lines = file.read().splitlines()[-TAIL_LINES:]
        except OSError:
            return []
        return [line.decode(errors="replace") for line in lines]

    def bound(self) -> None:
        """Cut out what is old, if there is too much."""
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return  # it is not there, or no descriptor can be had: it is looked at again
        try:
            size = os.fstat(fd).st_size
            if size - self.cut <= 2 * KEPT_BYTES:
                return
            end = (size - KEPT_BYTES) // PAGE * PAGE
            if _libc.fallocate(fd, _KEEP_SIZE_PUNCH_HOLE, self.cut, end - self.cut):
                reason = os.strerror(ctypes.get_errno())
                print(f"a job's log grows while it runs: {self.path}: {reason}", file=sys.stderr, flush=True)
            self.cut = end
        finally:
            os.close(fd)
