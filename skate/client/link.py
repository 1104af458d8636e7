"""The control channel to the node: what a client tells it, asks it, and hears from it.

Messages to the node are in the kernel when `send` returns: it waits for room, so nothing ever piles up on this channel, and what
this process tells others afterwards cannot overtake it. Requests that have an answer wait in numbered slots.

INV-1: a request is in `_slots` until its answer has come or the node is gone; either wakes its waiter.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..exceptions import GetTimeoutError, LocalRayletDiedError, NotRunningError, RaySystemError
from ..wire import messages as m
from ..wire.channel import ChannelClosed, wait_writable
from .pump import Waiter
from .refs import ERROR

if TYPE_CHECKING:
    from .runtime import ClientRuntime


class Slot:
    """A request to the node that waits for its answer."""

    __slots__ = ("abandoned", "answer", "error", "number", "waiter")

    def __init__(self, number: int) -> None:
        self.number = number
        self.answer: Any = None
        self.error = ""
        self.abandoned = False
        self.waiter = Waiter()


class Link:
    """The node, as this client talks to it."""

    number = 0
    """The node's number, if it is not the client's own."""

    def __init__(self, runtime: ClientRuntime, channel: Any) -> None:
        """`channel`: a `Channel`, or for another node a `StreamChannel` that comes later."""
        self.runtime = runtime
        self.channel = channel
        self.handlers: dict[type, Callable[[Any], None]] = {}
        """Who hears which message of the node."""
        self._slots: dict[int, Slot] = {}
        self._farewell = "The skate node process has died"
        if channel is not None:
            runtime.pump.add(channel.fd, self._on_readable)

    # ------------------------------------------------------------ to the node

    def send(self, message: Any, fds: Sequence[int] = ()) -> None:
        """Send to the node. What was sent is in the kernel when this returns: what this process tells others next
        cannot overtake it. Needs the lock."""
        if self.runtime.closed:
            return
        channel = self.channel
        try:
            done = channel.send_fds(m.encode(message), fds) if fds else channel.send(m.encode(message))
            while not done:
                wait_writable(channel.fd)
                done = channel.flush()
        except ChannelClosed:
            self._node_lost()

    def open(self) -> None:
        """Connect, if that is not so yet. Needs the lock."""

    def open_request(self) -> Slot:
        """A place for an answer. Needs the lock."""
        slot = Slot(self.runtime.next_id())
        self._slots[slot.number] = slot
        return slot

    def wait_request(self, slot: Slot, timeout: float | None = None, why: str = "an answer from the node") -> Any:
        """Wait for the answer."""
        if not self.runtime.wait_for(slot.waiter, timeout, lambda: why):
            raise GetTimeoutError(f"no answer in {timeout} s: {why}")
        if slot.error:
            raise RaySystemError(slot.error)
        if slot.answer is None:
            raise NotRunningError(self.runtime.lost or "skate was shut down")
        return slot.answer

    def ask(self, what: str, argument: Any = None, timeout: float | None = None) -> Any:
        """Ask the node a question about state.

        Raises:
            GetTimeoutError: the node has not answered in `timeout` seconds.
        """
        with self.runtime.lock:
            self.check_open()
            slot = self.open_request()
            self.send(m.Ask(slot.number, what, argument))
        answer = self.wait_request(slot, timeout)
        if answer.error:
            raise ValueError(answer.error)
        return answer.value

    def check_open(self) -> None:
        """Raise when the node is gone."""
        if self.runtime.closed:
            raise NotRunningError(self.runtime.lost or "skate was shut down; call skate.init() to start again")

    # ------------------------------------------------------------ from the node

    def _on_readable(self, mask: int) -> None:
        channel = self.channel
        for _ in range(64):
            try:
                received = channel.receive()
            except ChannelClosed:
                self._ended()
                return
            if received is None:
                return
            self.handle(m.decode_from_node(received[0]), received[1])
            if channel.closed:
                return
        while channel.more:  # read from the kernel already: no event will tell of it
            self._on_readable(mask)

    def handle(self, message: Any, fds: list[int]) -> None:
        """A message from the node. Needs the lock."""
        kind = type(message)
        handler = self.handlers.get(kind)
        runtime = self.runtime
        if handler is not None:
            handler(message)
        elif kind is m.Leased:
            runtime.tasks.leased(message, fds)
        elif kind is m.Dialed:
            runtime.links.dialed(message, fds)
        elif runtime.on_message is None or not runtime.on_message(message, fds):
            raise RaySystemError(f"unexpected message from the node: {kind.__name__}")

    def answer(self, message: Any) -> None:
        """A request has its answer. Needs the lock."""
        slot = self._slots.pop(message.request, None)
        if slot is not None and not slot.abandoned:
            slot.answer = message
            slot.waiter.notify()
        elif isinstance(message, m.Memory) and message.size:
            self.send(m.ReturnMemory([(message.offset, message.size)]))  # who asked for it was interrupted

    # ------------------------------------------------------------ its end

    def _ended(self) -> None:
        self._node_lost()

    def farewell(self, message: m.Refused) -> None:
        """The node says why it ends."""
        self._farewell = f"The skate node of this program has ended: {message.reason}"

    def _node_lost(self) -> None:
        """The node is gone: everything that waits for it fails."""
        runtime = self.runtime
        if runtime.closed:
            return
        runtime.closed = True
        runtime.lost = f"{self._farewell}; call skate.shutdown() and skate.init() to start again."
        runtime.pump.remove(self.channel.fd)
        self.fail_everything(runtime.lost)

    def fail_everything(self, reason: str) -> None:
        """Nothing will be answered any more. Needs the lock."""
        runtime = self.runtime
        error = LocalRayletDiedError(reason)
        for slot in list(self._slots.values()):
            slot.waiter.notify()
        self._slots.clear()
        for task in list(runtime.tasks.submitter.tasks()):
            runtime.tasks.fail(task, error)
        for actor in list(runtime.actors.by_id.values()):
            for task in [*actor.inflight.values(), *actor.queue]:
                runtime.tasks.fail(task, error)
            actor.inflight = {}
            actor.queue.clear()
        for ref in list(runtime.objects.fetching.values()):
            ref._value, ref._state = error, ERROR
            runtime.objects.finish(ref)
        if not runtime.is_driver:
            os._exit(1)  # a worker does not outlive its node
