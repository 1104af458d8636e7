"""The objects of a node that is drained, on their way to its heir.

    IDLE --chosen and dialled--> COPYING --all bytes are there--> GIVING --the heir answers for them--> GIVEN

While bytes are copied this node is their home as before. It gives all objects with their holders at one moment, and from then on
passes on what it hears of holds, in order, until everybody has heard who the heir is. It goes on counting itself: if the heir
ends before the head was told of it, another is chosen.

INV-1: `given` is set from the moment at which the objects were given: every hold that is counted after that is passed on.
"""

from __future__ import annotations

import enum
import select
import socket
from typing import TYPE_CHECKING, Any

from ..wire import handover as h, messages as m
from ..wire.channel import ChannelClosed
from ..wire.cluster import ALIVE, NodeInfo
from ..wire.stream import StreamChannel
from .directory import SENDER, STORE, Entry

if TYPE_CHECKING:
    from .service import Node

AGAIN_S = 0.5
PART = 1000
"""So many objects are in one message."""
COPIES_MAX = 64
"""So many objects are asked for at a time."""


class Stage(enum.Enum):
    """How far it is."""

    IDLE = "idle"
    COPYING = "copying"
    GIVING = "giving"
    GIVEN = "given"


class Handover:
    """The objects of one node, and their heir."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.stage = Stage.IDLE
        self.heir = 0
        self.given = False
        self._channel: StreamChannel | None = None
        self._there: set[bytes] = set()
        self._asked: set[bytes] = set()
        self._todo: list[tuple[bytes, int]] = []
        self._failed: dict[int, str] = {}
        """Nodes that could not do it, and why."""
        self._try_at = 0.0

    # ------------------------------------------------------------ what there is to give

    def objects(self) -> dict[bytes, m.Value]:
        """All objects that this node answers for and somebody holds, or may hold whose word is on its way; with their values."""
        directory = self.node.directory
        return {
            ident: entry.value
            for ident, entry in directory.entries.items()
            if (entry.held > 0 or entry.abroad)
            and entry.known
            and not entry.is_actor
            and entry.value is not None
            and directory.is_home(ident)
        }

    def _blocks(self) -> dict[bytes, int]:
        return {
            ident: value.size for ident, value in self.objects().items() if value.kind == m.SHARED and value.id == ident
        }

    def describe(self) -> str:
        """What is under way, in words."""
        if self.heir:
            return f"to go to node {self.heir}"
        return "; ".join(f"node {no}: {why}" for no, why in self._failed.items()) or "and no other node to take them"

    # ------------------------------------------------------------ steps

    def step(self, now: float) -> bool:
        """Do what is next; True when an heir answers for everything, or there is nothing to give."""
        if self.stage is Stage.GIVEN:
            return True
        if self.stage is Stage.IDLE:
            if not self.objects():
                return True
            if now >= self._try_at:
                self._try_at = now + AGAIN_S
                self._choose()
        elif self.stage is Stage.COPYING and self._channel is not None:
            self._copy()
        return False

    def _choose(self) -> None:
        node = self.node
        others = [info for info in node.view.values() if info.state == ALIVE and info.no != node.node_no]
        if not others or node.cluster is None or node.gate is None:
            return
        if all(info.no in self._failed for info in others):
            self._failed.clear()
        head = node.cluster.head

        def worth(info: NodeInfo) -> tuple[bool, bool, int, bool]:
            """One that a program has brought ends with it; a large store has room; the head's node is not drained itself."""
            store, has_head = info.total.get("object_store_memory", 0), (info.host, info.port) == head
            return info.no not in self._failed, not info.brought, store, has_head

        best = max(others, key=worth)
        self.heir = best.no
        self.stage = Stage.COPYING
        node.gate.dial(best.host, best.port, "heir", b"", self._connected)

    def _connected(self, sock: socket.socket | None, rest: bytes, error: str) -> None:
        if sock is None:
            self._give_up(error)
            return
        sock.setblocking(False)
        channel = self._channel = StreamChannel(sock, rest)
        self.node.watch(channel.fd, lambda mask: self._on_event(channel, mask))
        self._copy()

    def _copy(self) -> None:
        """Ask for what is not there yet; when all is, give it."""
        info = self.node.view.get(self.heir)
        if info is None or info.state != ALIVE:
            self._give_up("it is gone, or is drained itself")
            return
        if not self._asked and not self._todo:
            self._todo = [block for block in self._blocks().items() if block[0] not in self._there]
            if not self._todo:
                self._give()
                return
        room = COPIES_MAX - len(self._asked)
        if room > 0 and self._todo:
            new, self._todo = self._todo[-room:], self._todo[:-room]
            self._asked.update(ident for ident, _ in new)
            self._send(h.Bring(new))

    def _give(self) -> None:
        node = self.node
        directory = node.directory
        self.stage, self.given = Stage.GIVING, True
        left = [
            h.Left(ident, _placeless(value), _holders(directory.entries[ident]), directory.entries[ident].site)
            for ident, value in self.objects().items()
        ]
        homes = [directory.number, *directory.homes]
        clients = [client.id for client in node.clients.values() if client.far]
        parts = [left[at : at + PART] for at in range(0, len(left), PART)] or [[]]
        for at, part in enumerate(parts):
            self._send(h.Inherit(part, homes, clients, at == len(parts) - 1))

    def forward(self, client: bytes, ident: bytes, change: int) -> None:
        """Pass on what a client says of a hold."""
        if change:
            self._send(h.Forward(ident, change, client))

    # ------------------------------------------------------------ the connection

    def _send(self, message: Any) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            if not channel.send(h.encode(message)):
                mask = select.EPOLLIN | select.EPOLLOUT
                self.node.watch(channel.fd, lambda mask: self._on_event(channel, mask), mask)
        except ChannelClosed:
            return  # its end is on the way

    def _on_event(self, channel: StreamChannel, mask: int) -> bool:
        try:
            if mask & select.EPOLLOUT and channel.flush():
                self.node.watch(channel.fd, lambda mask: self._on_event(channel, mask))
            while not channel.closed and (received := channel.receive()) is not None:
                self._on_message(h.decode_from_heir(received[0]))
        except ChannelClosed as error:
            if channel is self._channel:
                self._give_up(f"the connection to it has ended: {error}")
        return True

    def _on_message(self, message: Any) -> None:
        if isinstance(message, h.Inherited):
            self.stage = Stage.GIVEN
            return
        self._asked.difference_update(message.ids, message.failed)
        self._there.update(message.ids)
        wanted = self.objects() if message.failed else {}
        if self.stage is Stage.COPYING and any(ident in wanted for ident in message.failed):
            self._give_up(message.reason)
        elif self.stage is Stage.COPYING:
            self._copy()

    def _give_up(self, reason: str) -> None:
        """This heir will not do. What was given to one is here still, until the head was told who the heir is."""
        channel, self._channel = self._channel, None
        if channel is not None:
            self.node.unwatch(channel.fd)
            channel.close()
        if self.node.drain.departed:
            return  # those who hold something hear that the heir has died, as of any node
        self._failed[self.heir] = reason
        self.heir = 0
        self.stage, self.given = Stage.IDLE, False
        self._there.clear()
        self._asked.clear()
        self._todo.clear()


def _holders(entry: Entry) -> dict[bytes, int]:
    """Who holds an object, without this node itself."""
    return {client: count for client, count in entry.holders.items() if client not in (SENDER, STORE, h.HEIR)}


def _placeless(value: m.Value) -> m.Value:
    return m.Value(value.kind, value.data, value.id, 0, value.size, value.refs, value.node)
