"""What this node itself holds on other nodes: the objects that are named inside objects it answers for.

An object here may contain a reference whose home is another node. As long as it does, that home must keep it, whatever becomes
of the client that made the one here. So the node is a client of the home, under its own number. A connection that comes after
another begins with all that is held there: with the end of that one, the home has forgotten it.
"""

from __future__ import annotations

import os
import select
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from ..version import __version__
from ..wire import messages as m
from ..wire.channel import ChannelClosed
from ..wire.cluster import DEAD, HEAD
from ..wire.stream import StreamChannel

if TYPE_CHECKING:
    from .directory import Directory
    from .service import Node


class Claims:
    """Links of this node to the homes of foreign objects."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._channels: dict[int, StreamChannel | None] = {}
        self._waiting: dict[int, list[Any]] = {}
        self._met: set[int] = {HEAD}
        """Homes that were connected before; of a head nobody knows."""

    def settle(self, directory: Directory) -> None:
        """Tell the homes what has begun and what has ended to be held here."""
        while directory.claims:
            ident, change = directory.claims.pop(0)  # one by one: a home may be connected, and told of all the others
            self._tell(int.from_bytes(ident[:4], "big"), m.Hold(ident, change))

    def _home(self, ident: bytes) -> int:
        return self.node.heirs.of(int.from_bytes(ident[:4], "big"))

    def _tell(self, number: int, message: Any) -> None:
        number = self.node.heirs.of(number)
        if number == self.node.node_no:
            return  # it was inherited
        channel = self._channels.get(number)
        if channel is not None:
            self._send(number, channel, message)
            return
        self._waiting.setdefault(number, []).append(message)
        if number not in self._channels:
            self._channels[number] = None
            self._dial(number)

    def _dial(self, number: int) -> None:
        node = self.node
        assert node.gate is not None
        if number == HEAD:
            assert node.cluster is not None
            node.cluster.reach_head("head", b"", partial(self._connected, number))
            return
        node.abroad.when_known(number, partial(self._dial_known, number))

    def _dial_known(self, number: int) -> None:
        node = self.node
        info = node.view.get(number)
        if info is None or info.state == DEAD:
            self.node_died(number)
            return
        assert node.gate is not None
        node.gate.dial(info.host, info.port, "client", b"", partial(self._connected, number))

    def _connected(self, number: int, sock: socket.socket | None, rest: bytes, error: str) -> None:
        if sock is None:
            self.node_died(number)
            return
        sock.setblocking(False)
        channel = self._channels[number] = StreamChannel(sock, rest)
        self.node.watch(channel.fd, lambda mask: self._on_event(number, channel, mask))
        node = self.node
        incarnation = os.urandom(4) if node.head is not None else bytes(4)
        me = node.node_no.to_bytes(4, "big") + incarnation
        messages = self._waiting.pop(number, [])
        if number in self._met:
            directory = node.directory
            messages = [m.Hold(ident, 1) for ident in directory.entries if self._home(ident) == number]
            directory.claims = [claim for claim in directory.claims if self._home(claim[0]) != number]
        self._met.add(number)
        hello = m.Hello(__version__, os.getpid(), "", "", False, [], "", False, "", me, "", is_driver=False)
        for message in (hello, *messages):
            if self._channels.get(number) is channel:  # else it has ended again
                self._send(number, channel, message)

    def _send(self, number: int, channel: StreamChannel, message: Any) -> None:
        try:
            if not channel.send(m.encode(message)):
                self.node.watch(
                    channel.fd,
                    lambda mask: self._on_event(number, channel, mask),
                    select.EPOLLIN | select.EPOLLOUT,
                )
        except ChannelClosed:
            self._ended(number)

    def _on_event(self, number: int, channel: StreamChannel, mask: int) -> bool:
        try:
            if mask & select.EPOLLOUT and channel.flush():
                self.node.watch(channel.fd, lambda mask: self._on_event(number, channel, mask))
            while channel.receive() is not None:
                continue  # a home has nothing to say to a node that only holds
        except ChannelClosed:
            self._ended(number)
        return True

    def _ended(self, number: int) -> None:
        self.node_died(number)
        if self.node.heirs.of(number) == number:  # a head will be back, and a node may live
            self._channels[number] = None
            self._dial(number)

    def node_died(self, number: int) -> None:
        """A home is gone, or out of reach: nothing is held there any more, but at its heir if it has one."""
        known = number in self._channels
        channel = self._channels.pop(number, None)
        waiting = self._waiting.pop(number, [])
        if channel is not None:
            self.node.unwatch(channel.fd)
            channel.close()
        heir = self.node.heirs.of(number)
        if known and heir not in (number, self.node.node_no):
            self._waiting.setdefault(heir, []).extend(waiting)
            if heir not in self._channels:  # it has to hear when this node ends
                self._channels[heir] = None
                self._dial(heir)
            elif self._channels[heir] is not None:
                for message in self._waiting.pop(heir):
                    self._tell(heir, message)
