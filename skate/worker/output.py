"""A worker's stdout and stderr: whole lines, written at once, marked with whose they are, and which task printed them.

Python-level prints are collected until the end of the line and written with one system call, so that lines of threads and
of child processes never mix within a line. What C code prints goes straight to the same file.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..node.logs import NAME_MARK as NAME_MARK, TASK_MARK
from .execute import task_id

if TYPE_CHECKING:
    from .process import Worker


def whose(worker: Worker) -> str:
    """Whose output this is, for the driver's terminal, and the id of the task that runs on this thread."""
    actor = worker.actor
    running = getattr(worker.local, "running", None) or (actor.running_call() if actor is not None else None)
    if running is None and (actor is None or not actor.is_threaded):
        running = worker.running  # a thread that the user's code has started
    if running is None:
        return "worker" if actor is None else actor.spec.class_name
    name = running[2].short if actor is None else actor.spec.class_name
    return f"{name}{TASK_MARK}{task_id(running[0], running[1])}"


class LineWriter(io.TextIOBase):
    """A text stream over a descriptor that writes whole lines."""

    def __init__(self, fd: int, name: Callable[[], str]) -> None:
        self._fd = fd
        self._name = name
        self._said = ""
        self._rest = ""
        self.buffer = open(fd, "wb", buffering=0, closefd=False)  # noqa: SIM115  (lives as long as the process)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8."""
        return "utf-8"

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def writable(self) -> bool:
        """True."""
        return True

    def isatty(self) -> bool:
        """False: it is a file."""
        return False

    def write(self, text: str) -> int:
        """Take text; whole lines are written at once."""
        if "\n" in text:
            lines, self._rest = (self._rest + text).rsplit("\n", 1)
            self._put(lines + "\n")
        else:
            self._rest += text
        return len(text)

    def flush(self) -> None:
        """Write what was collected, even if the line has not ended."""
        if self._rest and not self.closed:
            rest, self._rest = self._rest, ""
            self._put(rest)

    def _put(self, text: str) -> None:
        name = self._name()
        if name != self._said:
            self._said = name
            text = f"{NAME_MARK}{name}\n{text}"
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._fd, data) :]
