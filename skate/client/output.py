"""The output of workers on the driver's terminal: whole lines, each with whose it is; repetitions folded.

A line that another process prints again within `WINDOW_S` is counted instead of printed, and the count is printed when the
window ends: a message that every worker prints is read once. Of many lines that were repeated together, such as a traceback, the
first is printed then, with their number.

A thread of its own writes: a terminal that is blocked, or a full pipe, must not stop the program. What waits for it is limited;
what is beyond the limit is counted, and the count is printed.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque

from ..wire.messages import Output
from .words import several

WINDOW_S = 5.0
REMEMBERED_MAX = 1000
WAITING_CHARS_MAX = 64 << 20
"""What may wait for a terminal that takes nothing."""
PATIENCE_S = 10.0
"""At the end a terminal that takes nothing is given up after this long; one that is only slow is not."""


class _Line:
    __slots__ = ("is_error", "repeats", "since", "source")

    def __init__(self, source: str, is_error: bool, since: float) -> None:
        self.source = source
        self.is_error = is_error
        self.since = since
        self.repeats = 0


class Printer:
    """Prints what workers print."""

    def __init__(self) -> None:
        self._seen: dict[str, _Line] = {}
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._writer = _Writer()

    def show(self, message: Output) -> None:
        """Print new lines, and count repeated ones."""
        now = time.monotonic()
        out = []
        with self._lock:
            self._expire(now)
            for line in message.lines:
                seen = self._seen.get(line)
                if seen is not None and seen.source != message.source and line.strip():
                    seen.repeats += 1
                    self._arm()
                    continue
                if seen is None and len(self._seen) < REMEMBERED_MAX:
                    self._seen[line] = _Line(message.source, message.is_error, now)
                out.append(f"({message.source}) {line}\n")
            self._writer.put("".join(out), message.is_error)

    def _expire(self, now: float, everything: bool = False) -> None:
        together: dict[tuple[str, bool, int], list[str]] = {}
        for text, line in list(self._seen.items()):
            if everything or now - line.since >= WINDOW_S:
                del self._seen[text]
                if line.repeats:
                    together.setdefault((line.source, line.is_error, line.repeats), []).append(text)
        for (source, is_error, repeats), (first, *rest) in together.items():
            more = f"and {several(len(rest), 'more line')} " if rest else ""
            self._writer.put(f"({source}) {first} [{more}repeated {repeats}x by other processes]\n", is_error)

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(WINDOW_S, self._due)
            self._timer.daemon = True
            self._timer.start()

    def _due(self) -> None:
        with self._lock:
            self._timer = None
            self._expire(time.monotonic())
            if any(line.repeats for line in self._seen.values()):
                self._arm()

    def finish(self) -> None:
        """Print what was counted, and wait until everything is written."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._expire(0.0, everything=True)
        self._writer.close()


class _Writer:
    """Writes in the order of `put`, which never waits."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, bool]] = deque()
        self._chars = 0
        self._left_out = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._written = 0

    def put(self, text: str, is_error: bool) -> None:
        """Have whole lines written."""
        if not text:
            return
        with self._changed:
            if self._chars >= WAITING_CHARS_MAX:
                self._left_out += text.count("\n")
                return
            self._waiting.append((text, is_error))
            self._chars += len(text)
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._run, name="skate-output", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    return
                text, is_error = self._waiting.popleft()
            _write(text, is_error)
            with self._changed:
                self._chars -= len(text)
                self._written += 1
                left_out, self._left_out = self._left_out, 0
            if left_out:
                _write(
                    f"(skate) {left_out} lines of output were left out: they came faster than they were read\n", True
                )

    def close(self) -> None:
        """Wait until all is written, as long as the terminal takes anything."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        seen = -1
        while thread is not None and thread.is_alive() and seen != self._written:
            seen = self._written
            thread.join(PATIENCE_S)


def _write(text: str, is_error: bool) -> None:
    if not text:
        return
    stream = sys.stderr if is_error else sys.stdout
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        return  # the driver has closed its terminal
