"""Objects, as the node sees them: the shell around `directory.py`, which knows who holds what.

It hands messages to the directory and carries out the effects. A client that has ended leaves an *estate*: memory in which
there may be values that somebody still reads from a channel. It is settled when every worker has said that it has read
that client's channel to the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire import messages as m
from .directory import Effects

if TYPE_CHECKING:
    from .client import Client
    from .service import Node


class ObjectShell:
    """All objects that the node answers for."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.directory = node.directory

    # ------------------------------------------------------------ messages

    def on_register(self, client: Client, message: m.Register) -> None:
        """The node answers for an object from now on."""
        effects = Effects()
        self.directory.register(client.id, message.id, message.value, message.holder, message.owner, effects)
        self._carry_out(effects)

    def on_deliver(self, client: Client, message: m.Deliver) -> None:
        """An object has its value."""
        effects = Effects()
        self.directory.deliver(client.id, message.id, message.value, effects)
        self._carry_out(effects)

    def on_hold(self, client: Client, message: m.Hold) -> None:
        """An object is held once more, or once less."""
        self.directory.hold(client.id, message.id, message.change, message.holder)

    def on_fetch(self, client: Client, message: m.Fetch) -> None:
        """A client wants a value."""
        effects = Effects()
        self.directory.fetch(client.id, message.id, effects)
        self._carry_out(effects)

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
        self.directory.end(condemned, effects, self.node.lost)
        self._carry_out(effects)

    def forget(self, client: Client) -> None:
        """A client has ended: it holds nothing, and delivers nothing."""
        effects = Effects()
        self.directory.client_gone(client.id, self.node.lost, effects)
        self._carry_out(effects)

    def settle(self, ident: bytes) -> None:
        """Free the memory of a client that has ended, if nobody reads its channels any more."""
        gone = ident in self.directory.gone
        if gone and not any(ident in worker.serving for worker in self.node.workers.values()):
            self.directory.settle_estate(ident)
            self.node.memory.serve()

    def _carry_out(self, effects: Effects) -> None:
        node = self.node
        for to, ident, value in effects.fetched:
            client = node.clients.get(to)
            if client is not None:
                node.send(client, m.Fetched(ident, value))
        for to, idents in effects.freed.items():
            client = node.clients.get(to)
            if client is not None:
                node.send(client, m.Freed(idents))
                if node.memory:
                    node.send(client, m.GiveBackMemory())
        for ident in effects.actors:
            node.actors.apply(node.actors.table.release(ident))
