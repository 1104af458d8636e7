"""Objects, as the node sees them: the shell around `directory.py`, which knows who holds what.

It hands messages to the directory and carries out the effects. A client that has ended leaves an *estate*: memory in which
there may be values that somebody still reads from a channel. It is settled when every worker has said that it has read
that client's channel to the end.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from ..wire import messages as m
from .directory import Effects

if TYPE_CHECKING:
    from .client import Client
    from .service import Node


GRACE_S = 3.5
"""A node from which nothing was heard for 3 s is dead, and its messages are refused: after this, no word is on its way."""


class ObjectShell:
    """All objects that the node answers for."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.directory = node.directory
        self._grace: dict[bytes, float] = {}
        """Objects that other nodes knew of, that nobody seems to hold, and until when they are kept all the same."""
        self.recover_until = 0.0
        """On a head that was started again: when everybody has said what he holds."""

    # ------------------------------------------------------------ messages

    def on_register(self, client: Client, message: m.Register) -> None:
        """The node answers for an object from now on."""
        effects = Effects()
        self.directory.register(client.id, message.id, message.value, message.holder, message.owner, effects)
        entry = self.directory.entries[message.id]
        if message.holder and message.holder[:4] != client.id[:4]:
            entry.abroad = True
        if message.site and not entry.site:
            entry.site = sys.intern(message.site)  # one for all objects that are made in a loop
        self.carry_out(effects)

    def on_deliver(self, client: Client, message: m.Deliver) -> None:
        """An object has its value."""
        effects = Effects()
        self.directory.deliver(client.id, message.id, message.value, effects)
        self.carry_out(effects)

    def on_hold(self, client: Client, message: m.Hold) -> None:
        """An object is held once more, or once less."""
        if self.node.drain.handover.given:
            self.node.drain.handover.forward(message.holder or client.id, message.id, message.change)
        self.directory.hold(client.id, message.id, message.change, message.holder)
        entry = self.directory.entries.get(message.id)
        if entry is not None and (not message.change or (client.far and client.id != entry.owner)):
            entry.abroad = True

    def on_fetch(self, client: Client, message: m.Fetch) -> None:
        """A client wants a value."""
        effects = Effects()
        self.directory.fetch(client.id, message.id, effects)
        self.carry_out(effects)

    def on_lost(self, client: Client, message: m.Lost) -> None:
        """The bytes of an object's value cannot be had."""
        effects = Effects()
        self.directory.lost(client.id, message.id, message.block, self.node.lost, effects)
        self.carry_out(effects)

    def on_caller_gone(self, client: Client, message: m.CallerGone) -> None:
        """A worker has read a channel of a caller that has ended to its end."""
        left = client.serving.get(message.caller, 0) - 1
        if left > 0:
            client.serving[message.caller] = left
        else:
            client.serving.pop(message.caller, None)
            self.settle(message.caller)

    # ------------------------------------------------------------ ends

    def end(self, condemned: set[bytes]) -> None:
        """Everything that was sent before these were condemned has been read: those that nobody holds end."""
        effects = Effects()
        if self.node.node_no:
            condemned = {ident for ident in condemned if not self._spared(ident)}
        self.directory.end(condemned, effects, self.node.lost)
        self.carry_out(effects)
        if self.directory.claims:
            self.node.claims.settle(self.directory)

    def _spared(self, ident: bytes) -> bool:
        """Whether an object may still be held by somebody whose word is on its way from another node."""
        entry = self.directory.entries.get(ident)
        if entry is None or not entry.abroad or entry.held > 0:
            self._grace.pop(ident, None)
            return False
        now = time.monotonic()
        if now < self._grace.setdefault(ident, max(now + GRACE_S, self.recover_until)):
            return True
        del self._grace[ident]
        return False

    @property
    def ending(self) -> bool:
        """Whether there are objects that end if nobody claims them."""
        return bool(self._grace)

    def on_time(self, now: float) -> None:
        """End what nobody has claimed in time."""
        if self._grace:
            self.directory.condemned.update(ident for ident, until in self._grace.items() if until <= now)

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, min(self._grace.values()) - now) if self._grace else None

    def forget(self, client: Client) -> None:
        """A client has ended: it holds nothing, and delivers nothing. For one of another node that may be only so because its
        connection is cut: it has a moment to say again what it holds."""
        if client.far:
            for entry in self.directory.entries.values():
                entry.abroad |= client.id in entry.holders
        effects = Effects()
        self.directory.client_gone(client.id, self.node.lost, effects)
        self.carry_out(effects)

    def settle(self, ident: bytes) -> None:
        """Free the memory of a client that has ended, if nobody reads its channels any more."""
        gone = ident in self.directory.gone
        if gone and not any(ident in worker.serving for worker in self.node.workers.values()):
            self.directory.settle_estate(ident)
            self.node.spills.logic.settled(ident)
            self.node.memory.serve()

    def carry_out(self, effects: Effects) -> None:
        """Do what the directory has decided."""
        node = self.node
        for to, ident, value in effects.fetched:
            client = node.clients.get(to)
            if client is not None:
                node.send(client, m.Fetched(ident, value if client.far else node.spills.resolve(to, value)))
        for to, idents in effects.freed.items():
            if node.transfers is not None and to == node.transfers.me:
                node.transfers.freed(idents)
                continue
            client = node.clients.get(to)
            if client is not None:
                node.send(client, m.Freed(idents))
                if node.memory:
                    node.send(client, m.GiveBackMemory())
        for to, ident, number in effects.rebuild:
            client = node.clients.get(to)
            if client is not None:
                node.send(client, m.Rebuild(ident, number))
        for ident in effects.actors:
            node.actors.released(ident)
