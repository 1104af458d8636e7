"""Memory for clients: granted in the order of requests, and waited for when there is none.

The directory knows what is free. When that is too little, all clients are asked to return what they do not use, again and
again; whoever has waited for longer than its patience is refused, with the reason.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from ..store.arena import HEADER_BYTES
from ..wire import messages as m
from .directory import aligned
from .filling import what_fills

if TYPE_CHECKING:
    from .client import Client
    from .service import Node

HOPE_S = 60.0
"""How long a request goes on waiting, beyond its patience, while memory is on its way."""
RETRY_S = 0.05
"""How often clients are asked again for memory that somebody waits for."""


class Wanted(NamedTuple):
    """A request for memory."""

    client: Client
    request: int
    size: int
    until: float


class MemoryQueue:
    """Who waits for memory, the first one first."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._queue: list[Wanted] = []
        self._ask_again_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._queue)

    def on_want(self, client: Client, message: m.WantMemory) -> None:
        """A client needs memory."""
        room = self.node.arena_bytes - HEADER_BYTES
        if message.size > room:
            reason = f"the object store holds {room} bytes in all; see object_store_memory of init()"
            self.node.send(client, m.Memory(message.request, 0, 0, reason))
            return
        until = time.monotonic() + message.patience_s
        self._queue.append(Wanted(client, message.request, message.size, until))
        self.serve()

    def on_return(self, client: Client, message: m.ReturnMemory) -> None:
        """A client gives memory back."""
        self.node.directory.returned(client.id, message.ranges)
        client.asked_for_memory = False
        self.serve()

    def serve(self) -> None:
        """Grant memory in the order of requests; ask clients to return theirs when there is too little."""
        while self._queue:
            first = self._queue[0]
            offset = self.node.directory.grant(first.client.id, first.size)
            if offset is None:
                self.ask_all()
                self.node.spills.press(self.wanted())
                return
            del self._queue[0]
            self.node.send(first.client, m.Memory(first.request, offset, aligned(first.size)))

    def wanted(self) -> int:
        """How many bytes are waited for."""
        return sum(aligned(wanted.size) for wanted in self._queue)

    def ask_all(self) -> None:
        """Ask every client for the memory that it does not use."""
        for client in self.node.clients.values():
            if not client.asked_for_memory and not client.far:
                client.asked_for_memory = True
                self.node.send(client, m.GiveBackMemory())

    def forget(self, client: Client) -> None:
        """A client has ended: it waits for nothing."""
        self._queue = [wanted for wanted in self._queue if wanted.client is not client]

    def on_time(self, now: float) -> None:
        """Refuse those whose time is over, and ask again for the others, but not in every round of the node's loop."""
        if not self._queue:
            return
        patience = HOPE_S if any(now >= wanted.until for wanted in self._queue) and self._is_coming() else 0.0
        for wanted in [wanted for wanted in self._queue if now >= wanted.until + patience]:
            self._queue.remove(wanted)
            self._refuse(wanted)
        if now >= self._ask_again_at:
            self._ask_again_at = now + RETRY_S
            for client in self.node.clients.values():
                client.asked_for_memory = False
        self.serve()

    def _is_coming(self) -> bool:
        """Whether memory comes free without anybody doing anything: objects are being written, or end when nobody claims them."""
        return self.node.objects.ending or self.node.spills.logic.writing()

    def _refuse(self, wanted: Wanted) -> None:
        room, free = self.node.arena_bytes - HEADER_BYTES, self.node.directory.free.total
        why, disk = self.node.spills.why_full()
        remedy = "free some room there" if disk else "drop references that are not needed"
        reason = (
            f"the object store of {room} bytes is full ({free} are free), and nothing was freed in time: {why}. "
            f"In memory are {what_fills(self.node)}. To get on, {remedy}, or give init() more object_store_memory"
        )
        self.node.send(wanted.client, m.Memory(wanted.request, 0, 0, reason, disk))

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, self._ask_again_at - now) if self._queue else None
