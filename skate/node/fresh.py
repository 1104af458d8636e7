"""The view of this node, made as new as the head: for whoever would say that something is not there.

The head tells all nodes what changes, but each hears it when it comes to it. So for its user a node may be there, as `skate
status` shows, while another has not heard of it: some milliseconds, or much longer on a machine that is busy. What is in the
view needs no question, so nothing that is usual waits here. Before a node says that there is none, it sends the head a beat
that is *fresh*: the head first tells what it has not told yet, and then sends the beat back. Connections keep the order, so
whoever has it back has heard all that the head knew when it was asked.

Pure: time comes in as an argument, and `send` carries a beat to the head, or loses it.

INV-1: one beat is under way at a time, and never for nobody; who asks meanwhile waits for the next.
INV-2: each `then` is called once: with the beat's return, or in time, when the head does not answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Then = Callable[[], None]


class _Asked(NamedTuple):
    at: float
    until: float
    then: Then


class Fresh:
    """Who waits for a view that is as new as the head."""

    def __init__(self, send: Callable[[float], None]) -> None:
        self._send = send
        self._waiting: list[_Asked] = []
        self._sent: float | None = None
        """When the beat was sent that is under way."""

    def ask(self, then: Then, now: float, until: float) -> None:
        """Call `then()` when the view has all that the head knows by now; or at `until`, with what is known here."""
        self._waiting.append(_Asked(now, until, then))
        self._look(now)

    def came_back(self, at: float, now: float) -> None:
        """The head has sent back a fresh beat, and before it what it had not told."""
        if at != self._sent:
            return  # its connection has ended since, and another is under way
        self._sent = None
        done = [asked for asked in self._waiting if asked.at <= at]
        self._waiting = [asked for asked in self._waiting if asked.at > at]
        self._look(now)
        _call(done)

    def connected(self, now: float) -> None:
        """There is a new connection to the head: what was sent on the last is lost."""
        self._sent = None
        self._look(now)

    def _look(self, now: float) -> None:
        if self._waiting and self._sent is None:
            self._sent = now
            self._send(now)

    def on_time(self, now: float) -> None:
        """Let nobody wait for longer than he wants to."""
        late = [asked for asked in self._waiting if now >= asked.until]
        if late:
            self._waiting = [asked for asked in self._waiting if now < asked.until]
            _call(late)

    def next_due(self) -> float | None:
        """When `on_time` has something to do."""
        return min((asked.until for asked in self._waiting), default=None)


def _call(done: list[_Asked]) -> None:
    for asked in done:
        asked.then()
