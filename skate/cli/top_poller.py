"""The thread of `skate top` that asks the cluster: so the screen answers keys also while nodes do not.

INV-1: at most one snapshot waits for the screen, the newest, and the screen has been told of it once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .top_source import Snapshot, Source


class Poller:
    """The thread that asks."""

    def __init__(self, source: Source, interval: float, seen: Callable[[], object]) -> None:
        self.source = source
        self.interval = interval
        self.view = ""
        self._newest: Snapshot | None = None
        """Not shown yet."""
        self._ended = False
        self._seen = seen
        self._lock = threading.Lock()
        """Of the two."""
        self._now = threading.Event()
        self.thread = threading.Thread(target=self._run, name="skate-top", daemon=True)  # it may wait for a node

    def look(self, view: str) -> None:
        """Ask for this view, at once."""
        self.view = view
        self._now.set()

    def take(self) -> Snapshot | None:
        """The newest snapshot, once."""
        with self._lock:
            found, self._newest = self._newest, None
        return found

    def end(self) -> None:
        """Ask no more. It is not waited for: whoever quits is not to wait for a node."""
        with self._lock:
            self._ended = True
        self._now.set()

    def _run(self) -> None:
        while not self._ended:
            self._now.clear()
            view = self.view
            try:
                found = self.source.poll(view)
            except Exception as error:  # the answer of another version, say: it is shown, and the screen goes on
                found = Snapshot(view, error=f"{type(error).__name__}: {error}")
            with self._lock:
                if found.view == self.view and not self._ended:
                    told, self._newest = self._newest is not None, found
                    if not told:
                        self._seen()
            self._now.wait(self.interval)
