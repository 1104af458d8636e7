"""The output of workers on the driver's terminal: whole lines, each with whose it is; repetitions folded.

A line that another process prints again within `WINDOW_S` is counted instead of printed, and the count is printed when the
window ends: a message that every worker prints is read once.
"""

from __future__ import annotations

import sys
import threading
import time

from ..wire.messages import Output

WINDOW_S = 5.0
REMEMBERED_MAX = 1000


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
        _write("".join(out), message.is_error)

    def _expire(self, now: float, everything: bool = False) -> None:
        for text, line in list(self._seen.items()):
            if everything or now - line.since >= WINDOW_S:
                del self._seen[text]
                if line.repeats:
                    _write(f"({line.source}) {text} [repeated {line.repeats}x by other processes]\n", line.is_error)

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
        """Print what was counted."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._expire(0.0, everything=True)


def _write(text: str, is_error: bool) -> None:
    if not text:
        return
    stream = sys.stderr if is_error else sys.stdout
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        return  # the driver has closed its terminal
