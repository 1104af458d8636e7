"""The link to another node: a TCP connection, which the own node makes and hands over.

What is sent before the connection is there waits in the link.
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
        }

    def connected(self, sock: socket.socket | None, rest: bytes, error: str) -> None:
        """The own node has connected, or could not. Needs the lock."""
        if sock is None:
            self.fail(error)
            return
        self.channel = StreamChannel(sock, rest)
        self.runtime.pump.add(self.channel.fd, self._on_readable)
        runtime = self.runtime
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
        outbox, self._outbox = self._outbox, []
        for message in (hello, *outbox):
            self.send(message)

    def send(self, message: Any, fds: Any = ()) -> None:
        """Send to that node, now or when it is connected. Needs the lock."""
        if self.runtime.closed:
            return
        channel = self.channel
        if channel is None:
            self._outbox.append(message)
            return
        try:
            done = channel.send(m.encode(message))
            while not done:
                wait_writable(channel.fd)
                done = channel.flush()
        except ChannelClosed as error:
            self.fail(f"the connection to node {self.number} has ended: {error}")

    def take_unsent(self) -> list[Any]:
        """What is about objects, and was to be sent to a node that another has inherited from."""
        outbox, self._outbox = self._outbox, []
        return [message for message in outbox if isinstance(message, m.Hold)]

    def _ended(self) -> None:
        self.fail(f"the connection to node {self.number} has ended")

    def fail(self, reason: str) -> None:
        """Nothing comes from that node any more: what depends on it is told. Needs the lock."""
        runtime = self.runtime
        runtime.links.lost(self)
        self.close()
        for slot in list(self._slots.values()):
            slot.error = reason
            slot.waiter.notify()
        self._slots.clear()
        runtime.tasks.retries.node_lost(self.number, reason)
        runtime.objects.node_lost(self.number, reason)

    def close(self) -> None:
        """Close the connection."""
        channel: Channel | StreamChannel | None = self.channel
        if channel is not None:
            self.runtime.pump.remove(channel.fd)
            channel.close()
            self.channel = None
