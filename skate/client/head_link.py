"""The link to the head, which may be killed and started again at any moment.

Nothing that was sent on it is known to have arrived. So it is state that travels, not messages: whenever there is a new
connection the head is told which actors are held and called here, which were created and never heard of, which are to die,
and which requests have no answer yet. Each of these may be said again without harm.

The own node makes the connection as soon as there is a head, and ends when there is none for too long: then this process hears of
that end.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from ..wire import messages as m
from .actor_client import ACTOR_DEAD
from .peer_link import PeerLink

if TYPE_CHECKING:
    from .runtime import ClientRuntime


class HeadLink(PeerLink):
    """The head, as this client talks to it."""

    def __init__(self, runtime: ClientRuntime, number: int) -> None:
        super().__init__(runtime, number)
        self._requests: dict[int, Any] = {}
        """Without an answer."""
        self._held: dict[bytes, int] = {}
        """How often this process holds each actor."""
        self._created: dict[bytes, m.CreateActor] = {}
        """Actors of which the head has not said a word yet."""
        self._killed: dict[bytes, m.KillActor] = {}
        """Actors of whose death it has not said a word yet."""
        self.handlers[m.ActorChanged] = self._changed
        self.handlers[m.GroupChanged] = runtime.groups.changed

    def send(self, message: Any, fds: Any = ()) -> None:
        """Send to the head, now or when it is connected. Needs the lock."""
        self._note(message)
        if self.channel is not None:
            super().send(message)

    def _note(self, message: Any) -> None:
        kind = type(message)
        if kind is m.Hold:
            self._hold(message.id, message.change)
        elif kind is m.CreateActor:
            self._hold(message.id, 1)
            self._created[message.id] = message
        elif kind is m.KillActor:
            self._killed[message.id] = message
        elif kind in (m.FindActor, m.Ask):
            self._requests[message.request] = message

    def _hold(self, ident: bytes, change: int) -> None:
        count = self._held.get(ident, 0) + change
        if count:
            self._held[ident] = count
        else:
            self._held.pop(ident, None)

    def connected(self, sock: socket.socket | None, rest: bytes, error: str) -> None:
        """The own node has connected. Needs the lock."""
        if self.runtime.closed:
            if sock is not None:
                sock.close()
            return
        super().connected(sock, rest, error)
        actors = self.runtime.actors.by_id
        held = [m.Hold(ident, count) for ident, count in self._held.items() if ident not in self._created]
        callers = [
            m.ConnectActor(ident)
            for ident, actor in actors.items()
            if actor.state != ACTOR_DEAD and actor.creating is None and ident not in self._created
        ]
        created = list(self._created.values())
        more = [m.Hold(ident, self._held.get(ident, 0) - 1) for ident in self._created if self._held.get(ident, 0) != 1]
        groups = self.runtime.groups.again()
        for message in (*groups, *created, *more, *held, *callers, *self._killed.values(), *self._requests.values()):
            super().send(message)

    def answer(self, message: Any) -> None:
        """A request has its answer. Needs the lock."""
        self._requests.pop(message.request, None)
        if isinstance(message, m.FoundActor):
            self._created.pop(message.id, None)
            if not message.created:  # the name was another's: what this process wanted to create is not there
                for ident in [i for i, request in self._created.items() if request.request == message.request]:
                    del self._created[ident]
                    self._held.pop(ident, None)
        super().answer(message)

    def _changed(self, message: m.ActorChanged) -> None:
        self._created.pop(message.id, None)
        if message.state not in ("alive", "pending"):
            self._killed.pop(message.id, None)
        self.runtime.actors.life.changed(message)

    def _cut(self, reason: str) -> None:
        self.fail(reason)

    def fail(self, reason: str) -> None:
        """The connection has ended: the own node makes the next when there is a head. Needs the lock."""
        runtime = self.runtime
        self.close()
        if not runtime.closed:
            runtime.links.dial(self.number, "head", b"", self.connected)
