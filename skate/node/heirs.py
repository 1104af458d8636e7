"""A node as an heir: it takes over the objects of nodes that are drained, and answers for them.

First it brings the bytes, and keeps them as its own: they may go to its disk, but are not dropped as copies are. Then it hears,
at one moment, of all objects of the other node and who holds them. From that moment on it is their home. Those who hold them
hear so through the head's view of the nodes, and talk to it instead.

INV-1: `directory.homes` has what the ids begin with of all nodes that were inherited from.
"""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING, Any

from ..wire import handover as h, messages as m
from ..wire.channel import ChannelClosed
from ..wire.stream import StreamChannel
from .directory import Effects

if TYPE_CHECKING:
    from .client import Client
    from .service import Node

EXPECT_S = 10.0
"""A client that was connected to the drained node, and does not come in this time, is gone."""


class Heirs:
    """What this node inherits."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._brought: dict[int, set[bytes]] = {}
        """By connection: what was brought, and is not inherited yet."""
        self._parts: dict[int, list[h.Left]] = {}
        self._expected: dict[bytes, float] = {}

    # ------------------------------------------------------------ who has inherited what

    def of(self, number: int) -> int:
        """Who answers for the objects of a node: itself, or its heir if it has ended."""
        view = self.node.view
        while number in view and view[number].heir:
            number = view[number].heir
        return number

    def all(self) -> dict[int, int]:
        """The nodes that others have inherited from, and these."""
        return {no: self.of(no) for no, info in self.node.view.items() if info.heir}

    def source_of(self, ident: bytes, number: int) -> int:
        """Where to ask for the bytes of an object that were on a node: there, or if that was drained, at its home."""
        info = self.node.view.get(number)
        return self.of(int.from_bytes(ident[:4], "big")) if info is not None and info.drained else number

    def on_pull(self, client: Client, message: m.Pull) -> None:
        """A client wants to read the bytes of an object."""
        node, ident = self.node, message.id
        source = self.source_of(ident, message.node)

        def done(value: m.Value) -> None:
            if value.kind == m.LOST and self.source_of(ident, source) != source:
                self.on_pull(client, message)  # it was drained meanwhile
            else:
                node.send(client, m.Pulled(ident, value))

        # others may have copies of what is at home here, or is kept for a node that is being drained
        if source in (0, node.node_no) or node.directory.is_home(ident) or node.directory.is_kept(ident):
            node.spills.on_pull(client, ident)
        elif node.transfers is None:
            node.send(client, m.Pulled(ident, node.lost))
        else:
            node.transfers.pull(client.id, ident, source, message.size, done, message.ahead)

    def on_hurry(self, client: Client, message: m.Hurry) -> None:
        """A client waits for bytes that it has asked for in advance."""
        if self.node.transfers is not None:
            self.node.transfers.queue.hurry(message.id)

    # ------------------------------------------------------------ the connection to a node that is drained

    def on_connected(self, purpose: str, payload: bytes, sock: socket.socket, rest: bytes, address: str) -> None:
        """A node that is drained has chosen this one."""
        sock.setblocking(False)
        channel = StreamChannel(sock, rest)
        self._brought[channel.fd] = set()
        self.node.watch(channel.fd, lambda mask: self._on_event(channel, mask))
        if rest:
            self._on_event(channel, select.EPOLLIN)

    def _on_event(self, channel: StreamChannel, mask: int) -> bool:
        try:
            if mask & select.EPOLLOUT and channel.flush():
                self.node.watch(channel.fd, lambda mask: self._on_event(channel, mask))
            while not channel.closed and (received := channel.receive()) is not None:
                self._on_message(channel, h.decode_to_heir(received[0]))
        except ChannelClosed:
            self._ended(channel)
        return True

    def _on_message(self, channel: StreamChannel, message: Any) -> None:
        if isinstance(message, h.Bring):
            for ident, size in message.objects:
                self._bring(channel, ident, size)
        elif isinstance(message, h.Inherit):
            self._inherit(channel, message)
        elif message.client != self._me:
            self.node.directory.hold(message.client, message.id, message.change, b"")

    @property
    def _me(self) -> bytes:
        assert self.node.transfers is not None
        return self.node.transfers.me

    def _send(self, channel: StreamChannel, message: Any) -> None:
        if channel.closed:
            return
        try:
            if not channel.send(h.encode(message)):
                mask = select.EPOLLIN | select.EPOLLOUT
                self.node.watch(channel.fd, lambda mask: self._on_event(channel, mask), mask)
        except ChannelClosed:
            return  # its end is on the way

    def _ended(self, channel: StreamChannel) -> None:
        """The other has ended, with or without having left anything."""
        self._parts.pop(channel.fd, None)
        for ident in self._brought.pop(channel.fd, ()):
            self.node.directory.hold(h.HEIR, ident, -1, b"")
        self.node.unwatch(channel.fd)
        channel.close()

    # ------------------------------------------------------------ bytes

    def _bring(self, channel: StreamChannel, ident: bytes, size: int) -> None:
        node = self.node
        brought = self._brought[channel.fd]
        if ident in brought:
            self._send(channel, h.Brought([ident], [], ""))
            return

        def done(value: m.Value) -> None:
            if value.kind != m.SHARED:
                self._send(channel, h.Brought([], [ident], f"node {node.node_no} could not bring it"))
                return
            if self._brought.get(channel.fd) is not brought:  # the other has ended meanwhile
                node.directory.hold(h.HEIR, ident, -1, b"")
                return
            brought.add(ident)
            self._keep(ident)
            self._send(channel, h.Brought([ident], [], ""))

        source = int.from_bytes(ident[:4], "big")
        assert node.transfers is not None
        if node.directory.is_kept(ident):  # brought for another connection, which has ended
            node.directory.hold(h.HEIR, ident, 1, b"")
            brought.add(ident)
            self._send(channel, h.Brought([ident], [], ""))
        else:
            node.transfers.pull(h.HEIR, ident, self.of(source), size, done)

    def _keep(self, ident: bytes) -> None:
        """A copy is not one any more: it is not dropped when memory is short, but written."""
        transfers = self.node.transfers
        assert transfers is not None
        transfers.copies.pop(ident, None)
        transfers.sources.pop(ident, None)
        self.node.spills.logic.keep(ident)

    # ------------------------------------------------------------ inheriting

    def _inherit(self, channel: StreamChannel, message: h.Inherit) -> None:
        parts = self._parts.setdefault(channel.fd, [])
        parts += message.objects
        if not message.last:
            return
        del self._parts[channel.fd]
        directory = self.node.directory
        directory.homes.update(message.homes)
        effects = Effects()
        for left in parts:
            left.holders.pop(self._me, None)  # this node's own claim on what is its own now
            for client in left.holders:
                directory.gone.pop(client, None)  # it may have left this node, and lives
            directory.inherit(left.id, left.value, left.holders, h.HEIR, effects)
            directory.entries[left.id].site = left.site
        brought = self._brought[channel.fd]
        for ident in brought:
            directory.hold(h.HEIR, ident, -1, b"")
        brought.clear()
        self.node.objects.carry_out(effects)
        until = time.monotonic() + EXPECT_S
        expected = set(message.clients) - {self._me} - self.node.clients.keys()
        self._expected.update(dict.fromkeys(expected, until))
        if self not in self.node.parts:
            self.node.parts.append(self)
        print(f"{len(parts)} objects were inherited", flush=True)
        self._send(channel, h.Inherited())

    # ------------------------------------------------------------ clients that do not come

    def on_time(self, now: float) -> None:
        """Give up clients that have ended before they could come here."""
        for client in [client for client, until in self._expected.items() if now >= until]:
            del self._expected[client]
            if client not in self.node.clients:
                effects = Effects()
                self.node.directory.client_gone(client, self.node.lost, effects)
                self.node.objects.carry_out(effects)

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, min(self._expected.values()) - now) if self._expected else None
