"""The thread of `skate top` that asks the cluster: so the screen answers keys also while nodes do not.

INV-1: at most one snapshot waits for the screen, the newest, and the screen has been told of it once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .top_source import Snapshot, Source, Wish


class Poller:
    """The thread that asks."""

    def __init__(
        self, source: Source, interval: float, seen: Callable[[], object], prepare: Callable[[Snapshot], None]
    ) -> None:
        """`prepare(snapshot)` does in this thread what would stop the screen; `seen()` says that there is one."""
        self.source = source
        self.interval = interval
        self.wish = Wish("nodes")
        self._newest: Snapshot | None = None
        """Not shown yet."""
        self._ended = False
        self._seen = seen
        self._prepare = prepare
        self._lock = threading.Lock()
        """Of the two."""
        self._now = threading.Event()
        self.thread = threading.Thread(target=self._run, name="skate-top", daemon=True)  # it may wait for a node

    def look(self, wish: Wish) -> None:
        """Ask for this, at once."""
        self.wish = wish
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
            wish = self.wish
            try:
                found = self.source.poll(wish)
                self._prepare(found)
            except Exception as error:  # the answer of another version, say: it is shown, and the screen goes on
                found = Snapshot(wish, error=f"{type(error).__name__}: {error}")
            with self._lock:
                if found.wish == self.wish and not self._ended:
                    told, self._newest = self._newest is not None, found
                    if not told:
                        self._seen()
            self._now.wait(self.interval)
