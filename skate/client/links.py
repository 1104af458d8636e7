"""The nodes that a client talks to: its own, and others from the first time on that it needs them.

Whoever owns a thing is asked directly: a worker's node for the worker, an object's home for the object, the head for actors and
names. A link to another node is a TCP connection, which the own node makes and hands over: only nodes know the secret of
the cluster. What is sent before the connection is there waits in the link.

INV-1: a link in `_peers` is being dialled, or connected; one that has failed is gone from it, and all that depends on its node
has been told.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..wire import messages as m
from ..wire.cluster import HEAD
from .head_link import HeadLink
from .link import Link
from .peer_link import PeerLink
from .refs import home_of

if TYPE_CHECKING:
    from .runtime import ClientRuntime

Then = Callable[[socket.socket | None, bytes, str], None]


class Links:
    """Own node, head, and peers, by number."""

    def __init__(self, runtime: ClientRuntime, own: Link) -> None:
        self.runtime = runtime
        self.own = own
        self.number = runtime.welcome.node_no
        self._peers: dict[int, PeerLink] = {}
        self._dials: dict[int, Then] = {}
        self.dead: dict[int, str] = {}
        """Nodes that are gone, and why."""
        self.heirs = dict(runtime.welcome.heirs)
        """Nodes that were drained, and the nodes that have their objects now."""
        self.met: set[int] = set()
        """Nodes that this process has been connected to: on the next connection they are told what is held and awaited."""
        self.holds: dict[int, dict[bytes, int]] = {}
        """How often each object is held here, by the number of its home, if that is another node."""

    @property
    def clustered(self) -> bool:
        """Whether there are other nodes, or may be."""
        return self.number != 0

    @property
    def head(self) -> Link:
        """The node that knows actors and names."""
        return self.to(HEAD) if self.number else self.own

    def to(self, number: int) -> Link:
        """The link to a node. Needs the lock."""
        if number in (0, self.number):
            return self.own
        number = self.heir(number)
        if number == self.number:
            return self.own
        link = self._peers.get(number)
        if link is None:
            kind = HeadLink if number == HEAD else PeerLink
            link = self._peers[number] = kind(self.runtime, number)
            if number in self.dead:
                link.fail(self.dead[number])
            else:
                self.dial(number, "client", b"", link.connected)
        return link

    def reached(self, message: m.Reached) -> None:
        """Work of this program may run on a node: what it prints comes only to who is connected. Needs the lock."""
        self.to(message.node)

    def heir(self, number: int) -> int:
        """Who answers for the objects of a node: itself, or the one that has inherited them."""
        while number in self.heirs:
            number = self.heirs[number]
        return number

    def death(self, number: int) -> str | None:
        """Why what was on a node is gone; None: it is there, or on another that has inherited it."""
        return self.dead.get(self.heir(number))

    def tell(self, message: Any) -> None:
        """Send something about an object to its home. Needs the lock."""
        if self.number:
            self.to(home_of(message.id)).send(message)
        else:
            self.own.send(message)

    def note_hold(self, ident: bytes, change: int) -> None:
        """An object is held here once more or once less. Needs the lock."""
        home = home_of(ident)
        if home in (self.number, HEAD):  # the link to the head counts by itself
            return
        holds = self.holds.setdefault(home, {})
        holds[ident] = holds.get(ident, 0) + change
        if not holds[ident]:
            del holds[ident]

    def again(self, number: int) -> list[Any]:
        """What a node has forgotten with the last connection: what is held of its objects, and awaited. Needs the lock."""
        return [*self._held_of(number), *map(m.Fetch, self.runtime.objects.fetched_from(number))]

    def _held_of(self, number: int) -> list[Any]:
        homes = [holds for home, holds in self.holds.items() if self.heir(home) == number]
        return [m.Hold(ident, count) for holds in homes for ident, count in holds.items()]

    def all(self) -> list[Link]:
        """Every link that is open."""
        return [self.own, *self._peers.values()]

    def leave(self, message: m.Leaving) -> None:
        """Tell all nodes that know this program, or will, that it ends in order. Needs the lock."""
        for link in self.all():
            link.send(message)  # one that is being dialled tells it when it is connected

    # ------------------------------------------------------------ connections

    def dial(self, number: int, purpose: str, payload: bytes, then: Then) -> None:
        """Have the own node connect to another; `then(socket or None, bytes read already, error)`. Needs the lock."""
        request = self.runtime.next_id()
        self._dials[request] = then
        self.own.send(m.Dial(request, number, purpose, payload))

    def dialed(self, message: m.Dialed, fds: list[int]) -> None:
        """The own node has connected, or could not."""
        then = self._dials.pop(message.request, None)
        sock = socket.socket(fileno=fds[0]) if fds else None
        for fd in fds[1:]:
            os.close(fd)
        if then is None:
            if sock is not None:
                sock.close()
            return
        if sock is None:
            then(None, b"", message.error)
        else:
            self.runtime.securing.begin(sock, message.rest, False, then)

    def lost(self, link: PeerLink) -> None:
        """A connection has ended; the node may live: the next message dials it again."""
        if self._peers.get(link.number) is link:
            del self._peers[link.number]

    def node_died(self, message: m.NodeDied) -> None:
        """A node is gone for good. Needs the lock."""
        link = self._peers.get(message.node)
        fetching = self.runtime.objects.fetched_from(message.node)
        cut = link is not None and link.channel is None and message.node in self.met
        held = self._held_of(message.node) if cut else []  # it had forgotten that, and its heir was not told
        if message.heir:
            self.heirs[message.node] = message.heir
        else:
            self.dead[message.node] = message.reason
            self.holds.pop(message.node, None)
        if link is not None:
            link.fail(message.reason)
        if message.heir:
            unsent = link.take_unsent() if link is not None else []
            for each in (*held, *unsent, *map(m.Fetch, fetching)):
                self.tell(each)
            if link is not None:
                self.to(message.heir)  # it has to hear when this process ends

    def leave_to_parent(self) -> None:
        """In a forked child: close the sockets, and touch nothing that the parent shares, as its epoll."""
        for link in self._peers.values():
            if link.channel is not None:
                link.channel.sock.close()

    def close(self) -> None:
        """Close the connections to other nodes."""
        for link in list(self._peers.values()):
            link.close()
