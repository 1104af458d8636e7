"""What viewers are kept up to date with: one poller for all of them, that reads the cluster only while somebody looks.

A thread takes a reading, waits a second (or longer, if reading takes long), and takes the next, as long as there is a viewer. A
reading becomes a state, which never changes; each viewer is sent what is different from the state that he was sent before. So a
viewer who reads slowly misses states, and nothing is queued for him.

Lists are read when a page asks for them, and kept for a moment for whoever asks for the same.

INV-1: without a viewer, nothing asks the cluster.
INV-2: one reading at a time, and one reading of each list.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ..exceptions import RayError
from .patches import without_nulls
from .samples import Sample, Samples
from .source import Source

POLL_S = 1.0
SHARE_MAX = 0.05
"""Reading takes no more than this share of the time, however long it takes."""
VIEWERS_MAX = 64
LISTS_MAX = 32
"""So many lists are kept at the same time."""

State = dict[str, Any]


class TooManyViewers(Exception):
    """`VIEWERS_MAX` look already."""


class Live:
    """The state of the cluster, for viewers.

    Args:
        source: what is polled.
        poll_s: how often, at the most.
    """

    def __init__(self, source: Source, poll_s: float = POLL_S) -> None:
        self.source = source
        self.poll_s = poll_s
        self.samples = Samples()
        self.state: State = {}
        self.readings = 0
        self._viewers: dict[int, Callable[[], None]] = {}
        self._numbers = 0
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()

    def enter(self, wake: Callable[[], None]) -> int:
        """A viewer has come; `wake()` is called, in another thread, whenever there is a new state. Its number.

        Raises:
            TooManyViewers: there is no room.
        """
        with self._changed:
            if len(self._viewers) >= VIEWERS_MAX:
                raise TooManyViewers(f"{VIEWERS_MAX} viewers look at this dashboard already")
            self._numbers += 1
            self._viewers[self._numbers] = wake
            if self._thread is None:
                self._thread = threading.Thread(target=self._poll, name="skate-dashboard-poll", daemon=True)
                self._thread.start()
            return self._numbers

    def leave(self, number: int) -> None:
        """A viewer has gone. After the last one, the poller ends."""
        with self._changed:
            self._viewers.pop(number, None)
            self._changed.notify_all()

    @property
    def viewers(self) -> int:
        """How many look."""
        return len(self._viewers)

    @property
    def polls(self) -> bool:
        """Whether the cluster is being read."""
        return self._thread is not None

    def close(self) -> None:
        """Everybody goes."""
        with self._changed:
            self._viewers.clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(10)

    # ------------------------------------------------------------ the poller

    def _poll(self) -> None:
        while True:
            began = time.monotonic()
            state = self._read()
            took = time.monotonic() - began
            with self._changed:
                self.state = state
                self.readings += 1
                for wake in self._viewers.values():
                    wake()
                pause = max(self.poll_s - took, took / SHARE_MAX - took)
                self._changed.wait_for(lambda: not self._viewers, max(0.0, pause))
                if not self._viewers:
                    self._thread = None
                    return

    def _read(self) -> State:
        """A new state; after an error the last one, and what is wrong."""
        try:
            reading = self.source.reading()
            now = time.time()
            self.samples.add(now, reading["counts"])
            nodes = {node["node_id"]: node for node in reading["nodes"]}  # by id, so that a patch has only what is new
            state: State = without_nulls({**reading, "nodes": nodes, "time": now, "error": ""})
        except (ConnectionError, ValueError, RayError) as error:
            return {**self.state, "error": f"{error}" or type(error).__name__}
        except Exception as error:  # the answer of another version, say: it is shown, and the poller goes on
            return {**self.state, "error": f"{type(error).__name__}: {error}"}
        return state

    def news(self, after: int) -> list[Sample]:
        """The samples after this one."""
        with self._changed:
            return self.samples.after(after)


class _Kept:
    """A list that was asked for."""

    def __init__(self) -> None:
        self.reading = threading.Lock()
        self.until = float("-inf")
        self.value: Any = None


class Lists:
    """Lists that were read a moment ago, the `LISTS_MAX` that were asked for last."""

    def __init__(self, fresh_s: float = POLL_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.fresh_s = fresh_s
        self.clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def get(self, key: str, read: Callable[[], Any]) -> Any:
        """What `read()` returns, or has returned a moment ago for the same key. Raises what it raises."""
        with self._lock:
            kept = self._kept.pop(key, None) or _Kept()
            self._kept[key] = kept
            while len(self._kept) > LISTS_MAX:
                del self._kept[next(iter(self._kept))]
        with kept.reading:
            began = self.clock()
            if began >= kept.until:
                kept.value = read()
                now = self.clock()
                kept.until = now + max(self.fresh_s, (now - began) / SHARE_MAX)
            return kept.value
