"""Actors, as the node sees them: the shell around `head/actors.py`, which decides about their lives.

It takes the requests of clients, carries out what the state machine says, and passes channels on: each caller of an actor
has a channel of its own to it, made by the caller. What comes before the actor has a process waits here.

INV-1: a descriptor in `_channels` belongs to an actor that is not dead; it is closed here or by `Node.serve`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from ..head.actors import Actor, Actors, Effect, Place, State, Tell, Unplace
from ..wire import messages as m
from .resources import to_units
from .scheduler import Lease, WaitingActor

if TYPE_CHECKING:
    from .client import Client
    from .service import Node

_WAITING = (State.PENDING, State.STARTING, State.RESTARTING)


class Parked(NamedTuple):
    """A request for a channel to an actor that is not known yet."""

    client: Client
    message: m.ConnectActor
    fds: list[int]


class ActorShell:
    """All actors of the node, and the channels that wait for them."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.table = Actors()
        self._channels: dict[bytes, list[tuple[bytes, int]]] = {}
        """For actors without a process: their callers' ends of channels."""
        self._parked: list[Parked] = []

    # ------------------------------------------------------------ messages

    def on_create(self, client: Client, message: m.CreateActor, fds: list[int]) -> None:
        """A client creates an actor; the actor's end of its first channel comes along."""
        if message.name:
            other = self.table.find(message.namespace, message.name)
            if other is not None:
                _close(fds)
                self._found_other(client, message, other)
                return
            self.node.send(client, m.FoundActor(message.request, message.id, message.meta, created=True))
        self.node.directory.register_actor(client.id, message.id, message.depends or [])
        self._channels.setdefault(message.id, []).extend((client.id, fd) for fd in fds)
        self.apply(self.table.create(client.id, client.job, message))

    def _found_other(self, client: Client, message: m.CreateActor, other: Actor) -> None:
        error = ""
        if not message.get_if_exists:
            error = (
                f"an actor named {message.name!r} exists already in namespace {message.namespace!r}; "
                "use get_if_exists=True to get that one"
            )
        self.node.send(client, m.FoundActor(message.request, other.id, other.spec.meta, error))

    def on_connect(self, client: Client, message: m.ConnectActor, fds: list[int]) -> None:
        """A client wants to call an actor; the actor's end of the channel comes along."""
        if len(fds) != 1:
            _close(fds)
            raise ValueError(f"a channel to an actor came with {len(fds)} descriptors")
        if message.id in self.table.by_id:
            self._connect(client, message, fds)
        else:  # its creation is perhaps still in the creator's channel
            self._parked.append(Parked(client, message, fds))

    def _connect(self, client: Client, message: m.ConnectActor, fds: list[int]) -> None:
        actor = self.table.by_id.get(message.id)
        if actor is None or actor.state is State.DEAD:
            _close(fds)
            death = actor.death if actor else m.Death("it is not known to this cluster")
            error = actor.error if actor else b""
            self.node.send(client, m.ActorChanged(message.id, "dead", 0, 0, error, death))
            return
        actor.callers.add(client.id)
        if actor.worker:
            self.node.serve(self.node.workers[actor.worker], client.id, fds[0])
        else:
            self._channels.setdefault(message.id, []).append((client.id, fds[0]))
        state = "alive" if actor.state is State.ALIVE else "pending"
        self.node.send(client, m.ActorChanged(actor.id, state, actor.restarts, actor.pid))

    def on_kill(self, client: Client, message: m.KillActor) -> None:
        """A client kills an actor."""
        self.apply(self.table.kill(message.id, message.no_restart))

    def on_find(self, client: Client, message: m.FindActor) -> None:
        """A client looks for a name."""
        actor = self.table.find(message.namespace, message.name)
        if actor is None:
            error = f"there is no actor named {message.name[:200]!r} in namespace {message.namespace[:200]!r}"
            self.node.send(client, m.FoundActor(message.request, b"", b"", error))
        else:
            self.node.send(client, m.FoundActor(message.request, actor.id, actor.spec.meta))

    def on_ready(self, client: Client, message: m.ActorReady) -> None:
        """A constructor has returned, or raised."""
        self.apply(self.table.ready(client.worker, message.error))

    # ------------------------------------------------------------ rounds of the node's loop

    def take_parked(self) -> list[Parked]:
        """Requests that wait for a creation. Read all channels empty, then `connect` them; or `park` them again."""
        parked, self._parked = self._parked, []
        return parked

    def park(self, parked: list[Parked]) -> None:
        """Not everything was read: they go on waiting."""
        self._parked[:0] = parked

    def connect(self, parked: Iterable[Parked]) -> None:
        """Everything that was sent before these has been read: their actors are known now, or do not exist."""
        for client, message, fds in parked:
            self._connect(client, message, fds)

    # ------------------------------------------------------------ effects

    def apply(self, effects: Iterable[Effect]) -> None:
        """Carry out what the state machine has decided."""
        node = self.node
        for effect in effects:
            actor = effect.actor
            if isinstance(effect, Place):
                needed = to_units(actor.spec.placement), to_units(actor.spec.resources)
                node.scheduler.want_actor(WaitingActor(actor.id, actor.job, *needed))
                node.decide_again()
            elif isinstance(effect, Unplace):
                node.scheduler.forget_actor(actor.id)
            elif isinstance(effect, Tell):
                self._tell(actor)
            elif effect.drain:
                node.send(node.workers[actor.worker], m.Stop(drain=True))
            else:
                node.pool.kill(actor.worker, signal.SIGKILL)

    def _tell(self, actor: Actor) -> None:
        if actor.state is State.DEAD:
            _close(fd for _, fd in self._channels.pop(actor.id, ()))
        message = m.ActorChanged(actor.id, str(actor.state), actor.restarts, actor.pid, actor.error, actor.death)
        for caller in actor.callers:
            client = self.node.clients.get(caller)
            if client is not None:
                self.node.send(client, message)

    def place(self, ident: bytes, lease: Lease) -> None:
        """A worker was found for an actor."""
        worker = self.node.workers[lease.worker]
        actor = self.table.placed(ident, lease.worker, worker.pid)
        self.node.send(worker, m.BeActor(actor.spec, actor.restarts, lease.gpus))
        for caller, fd in self._channels.pop(ident, ()):
            self.node.serve(worker, caller, fd)

    def forget(self, client: Client) -> None:
        """A client has ended: nobody tells it anything any more."""
        for actor in self.table.by_id.values():
            actor.callers.discard(client.id)

    def cannot_start(self, job: str, reason: str) -> None:
        """No worker can be started for a job: its actors that wait for one are given up."""
        for actor in [a for a in self.table.by_id.values() if a.job == job and a.state in _WAITING]:
            self.apply(self.table.give_up(actor.id, m.Death(reason)))


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
