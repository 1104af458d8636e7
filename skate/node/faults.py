"""Faults of the node's own code: what it goes on after, and what ends it.

Whatever raises an error that nobody expected has not done what it was to do, and perhaps half of it. What becomes of that depends
on who can do it again:

- A part that is only `Minor` has no work of anybody in its hands: it rests for a while, and then goes on.
- A connection is lost, as if its other end had died: for that every owner of one has an answer, and both ends say again what the
  other may have missed.
- Everything else, such as leases, objects, or the end of a worker, nobody would say again: somebody would wait for it for ever.
  So the node ends, and its drivers are told why; what was on it runs elsewhere, as after any loss of a node. A head ends, too,
  and is started again.

Each is in the log with its traceback, an event, and counted in `skate_node_faults_total`.
"""

from __future__ import annotations

import os
import socket
import traceback
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .service import Node, Part

REST_S = 1.0
"""How long a part rests after its first fault; twice as long after each more."""
REST_S_MAX = 60.0
CUTS_MAX = 100
"""What came before a connection was cut is still read, and may fail, too: but not for ever."""
LOGGED_MAX = 20
"""So many faults of one part are in the log; all are counted."""
TEXT_CHARS = 500


class Minor:
    """A part that only looks, tells or writes down: nobody's work is lost if it fails."""


class Ended(Exception):
    """What the node cannot go on without has ended: no fault of its own."""


class Resting:
    """In the place of a part that has failed."""

    def __init__(self, node: Node, part: Part, until: float) -> None:
        self.node = node
        self.part = part
        self.until = until

    def on_time(self, now: float) -> None:
        """It goes on when it is time."""
        if now >= self.until:
            parts = self.node.parts
            parts[parts.index(self)] = self.part

    def next_due(self, now: float) -> float | None:
        """Seconds until then."""
        return max(0.0, self.until - now)


class Faults:
    """Those of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.counts: Counter[str] = Counter()
        """By the name of the part."""
        self._cuts: dict[int, tuple[Callable[[int], bool], int]] = {}
        """By descriptor: whose connection was cut last, and how often its handler has failed."""

    def of_part(self, part: Part, error: Exception, now: float) -> None:
        """What a part has raised when something was due.

        Raises:
            Exception: the error itself: the node cannot go on.
        """
        if not isinstance(part, Minor):
            raise error
        name = type(part).__name__
        self.note(name, error)
        rest = min(REST_S_MAX, REST_S * 2 ** min(self.counts[name] - 1, 10))
        parts = self.node.parts
        parts[parts.index(part)] = Resting(self.node, part, now + rest)

    def of_handler(self, fd: int, handler: Callable[[int], bool], watched: bool, error: Exception) -> None:
        """What the handler of a descriptor has raised; `watched`: it still has the descriptor.

        Raises:
            Exception: the error itself: the node cannot go on.
        """
        last, times = self._cuts.get(fd, (handler, 0))
        times = times + 1 if last == handler else 1
        self._cuts[fd] = handler, times
        if not watched or times > CUTS_MAX or not _cut(fd):
            raise error
        self.note(getattr(handler, "__qualname__", repr(handler)).partition(".")[0], error)

    def note(self, name: str, error: Exception) -> None:
        """The node goes on after this."""
        self.counts[name] += 1
        if self.counts[name] <= LOGGED_MAX:
            traceback.print_exception(error)
        self.node.history.event("ERROR", "NODE", f"a fault in the node's own code, in {name}: {describe(error)}")

    def fatal(self, error: Exception) -> None:
        """End the node, and say why to those who are on it."""
        node = self.node
        node.failed = True
        if isinstance(error, Ended):
            node.stop(str(error))
            return
        traceback.print_exception(error)
        node.stop(f"a fault of its own: {describe(error)} (see {node.session_dir / 'logs' / 'node.log'})")


def describe(error: Exception) -> str:
    """One line."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:TEXT_CHARS]


def _cut(fd: int) -> bool:
    """Have a connection end for both sides; False: it is no connection. What has come is still read, and then its end."""
    try:
        sock = socket.socket(fileno=os.dup(fd))
    except OSError:
        return False
    with sock:
        try:
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return False
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False  # it never came to be
    return True
