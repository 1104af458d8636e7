"""The link to another node: a TCP connection, which the own node makes and hands over.

What is sent before the connection is there waits in the link. When the connection ends, the node may live: as long as something
is held there or awaited, it is dialled again, and told of that; what it does not hear of for a while, it lets go.
"""

from __future__ import annotations

import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from ..version import __version__
from ..wire import messages as m
from ..wire.channel import Channel, ChannelClosed, wait_writable
from ..wire.stream import StreamChannel
from .link import Link

if TYPE_CHECKING:
    from .runtime import ClientRuntime


class PeerLink(Link):
    """Another node, as this client talks to it."""

    def __init__(self, runtime: ClientRuntime, number: int) -> None:
        super().__init__(runtime, None)
        self.number = number
        self._outbox: list[Any] = []
        self.failed = False
        tasks = runtime.tasks
        self.handlers = {
            m.Leased: partial(tasks.leased_far, self),
            m.WorkerDied: partial(tasks.retries.worker_died, number=number),
            m.GiveBack: partial(tasks.asked_back, number=number),
            m.CannotStart: tasks.cannot_start,
            m.ActorChanged: runtime.actors.life.changed,
            m.FoundActor: self.answer,
            m.Answer: self.answer,
            m.Fetched: runtime.objects.fetched,
            m.Output: runtime.output,
            m.Reached: runtime.links.reached,
        }

    def connected(self, sock: socket.socket | None, rest: bytes, error: str) -> None:
        """The own node has connected, or could not. Needs the lock."""
        runtime = self.runtime
        if sock is None or self.failed:
            if sock is not None:
                sock.close()
            self.fail(error)
            return
        self.channel = StreamChannel(sock, rest)
        runtime.pump.add(self.channel.fd, self._on_readable)
        hello = m.Hello(
            __version__,
            os.getpid(),
            runtime.namespace,
            "",
            runtime.log_to_driver,
            *runtime.environment,
            runtime.client_id,
            runtime.welcome.job,
            runtime.is_driver,
        )
        again = runtime.links.again(self.number) if self.number in runtime.links.met else []
        runtime.links.met.add(self.number)
        outbox, self._outbox = self._outbox, []
        for message in (hello, *again, *outbox):
            self.send(message)

    def send(self, message: Any, fds: Any = ()) -> None:
        """Send to that node, now or when it is connected. Needs the lock."""
        if self.runtime.closed:
            return
        channel = self.channel
        if channel is None:
            if self.number not in self.runtime.links.met or not _is_state(message):
                self._outbox.append(message)
            return
        try:
            done = channel.send(m.encode(message))
            while not done:
                wait_writable(channel.fd)
                done = channel.flush()
        except ChannelClosed as error:
            self._cut(f"the connection to node {self.number} has ended: {error}")

    def take_unsent(self) -> list[Any]:
        """What is about objects, and was to be sent to a node that another has inherited from."""
        outbox, self._outbox = self._outbox, []
        return [message for message in outbox if isinstance(message, m.Hold)]

    def _ended(self) -> None:
        self._cut(f"the connection to node {self.number} has ended")

    def _cut(self, reason: str) -> None:
        links = self.runtime.links
        if self.number in links.dead or not links.again(self.number):
            self.fail(reason)
            return
        self._interrupt(reason)
        links.dial(self.number, "client", b"", self.connected)

    def _interrupt(self, reason: str) -> None:
        """What the node did for this process it does not any more: requests, and workers that were leased."""
        self.close()
        for slot in list(self._slots.values()):
            slot.error = reason
            slot.waiter.notify()
        self._slots.clear()
        self.runtime.tasks.retries.node_lost(self.number, reason)

    def fail(self, reason: str) -> None:
        """Nothing comes from that node any more: what depends on it is told. Needs the lock."""
        self.failed = True
        self.runtime.links.lost(self)
        self._interrupt(reason)
        self.runtime.objects.node_lost(self.number, reason)

    def close(self) -> None:
        """Close the connection."""
        channel: Channel | StreamChannel | None = self.channel
        if channel is not None:
            self.runtime.pump.remove(channel.fd)
            channel.close()
            self.channel = None


def _is_state(message: Any) -> bool:
    """Whether it is part of what `Links.again` tells."""
    return isinstance(message, m.Fetch) or (isinstance(message, m.Hold) and message.change != 0)
