"""Actors, as the node sees them: the shell around `head/actors.py`, which decides about their lives.

It takes the requests of clients, carries out what the state machine says, and passes channels on: each caller of an actor
has a channel of its own to it, made by the caller. What comes before the actor has a process waits here.

INV-1: a descriptor in `_channels` belongs to an actor that is not dead; it is closed here or by `Node.serve`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from ..head import policy
from ..head.actors import PROGRAM_ENDED, PROGRAM_GONE, Actor, Actors, Effect, Place, State, Tell, Unplace
from ..version import __version__
from ..wire import cluster as c, messages as m
from ..wire.environments import crew as crew_of
from ..wire.groups import group_of
from .resources import to_units
from .scheduler import Lease, WaitingActor

GROUP_REMOVED = "its placement group was removed"

if TYPE_CHECKING:
    from .client import Client
    from .service import Node

NODE_BITS = 32
"""In `table`, a worker of another node has the node's number above this bit."""
_WAITING = (State.PENDING, State.STARTING, State.RESTARTING)


class Parked(NamedTuple):
    """A request for a channel to an actor that is not known yet."""

    client: Client
    message: m.ConnectActor
    fds: list[int]


class Hosted(Struct, eq=False):
    """An actor that the head has sent to this node."""

    spec: m.CreateActor
    restarts: int
    job: c.JobInfo
    may_restart: bool
    """It is started again elsewhere if this node goes."""
    worker: int = 0
    pid: int = 0
    ready: bool = False
    error: bytes = b""


class ActorShell:
    """All actors of the node, and the channels that wait for them.

    In the head's process, and on a node that is in no cluster, `table` decides about them, wherever they live. A member of a
    cluster has `hosted`, and tells the head what becomes of them. What the head decides is in its store before anybody is told.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.table = Actors()
        self.hosted: dict[bytes, Hosted] = {}
        self._hosted_by_worker: dict[int, Hosted] = {}
        self._channels: dict[bytes, list[tuple[bytes, int]]] = {}
        """For actors without a process: their callers' ends of channels."""
        self.parked: list[Parked] = []
        """Requests that wait for the end of the round."""
        self.jobs: dict[str, c.JobInfo] = {}
        """In the head's process: what workers of each job start with."""
        self._turn = 0
        """Which node is next for an actor that is to be spread."""

    # ------------------------------------------------------------ messages

    def on_create(self, client: Client, message: m.CreateActor, fds: list[int]) -> None:
        """A client creates an actor; the actor's end of its first channel comes along."""
        if message.id in self.table.by_id:  # the client has not heard that it was created, and says so again
            if not self.node.directory.holds(client.id, message.id):  # it has a new connection
                self.node.directory.hold(client.id, message.id, 1, b"")
            if message.name:
                self.node.send(client, m.FoundActor(message.request, message.id, message.meta, created=True))
            self._connect(client, m.ConnectActor(message.id), [])
            return
        if message.name:
            other = self.table.find(message.namespace, message.name)
            if other is not None:
                _close(fds)
                self._found_other(client, message, other)
                return
        self.node.directory.register_actor(client.id, message.id, message.depends or [])
        if fds:
            self._channels.setdefault(message.id, []).extend((client.id, fd) for fd in fds)
        self.note_job(client)
        effects = self.table.create(client.id, client.job, message)
        self._keep(self.table.by_id[message.id])
        if message.name:
            self.node.send(client, m.FoundActor(message.request, message.id, message.meta, created=True))
        elif client.far:  # what it was told, it need not say again
            self.node.send(client, m.ActorChanged(message.id, "pending", 0, 0))
        self.apply(effects)

    def note_job(self, client: Client) -> None:
        """What workers of a client's job start with: an actor may need one when the client is gone."""
        head, hello = self.node.head, client.hello
        if head is not None and hello is not None and client.job not in self.jobs:
            environment = hello.sys_path, hello.cwd, hello.alias_ray, hello.main_path, hello.log_to_driver
            self.jobs[client.job] = info = c.JobInfo(client.job, hello.namespace, *environment)
            head.rows.keep_job(info)

    def _keep(self, actor: Actor) -> None:
        """Write what was decided about an actor, before anybody is told."""
        if self.node.head is not None:
            self.node.head.rows.keep(actor)

    def _is_found(self, actor: Actor) -> None:
        """Another client gets a handle: its hold is on the way, and may come after the end of the last other one."""
        entry = self.node.directory.entries.get(actor.id)
        if entry is not None:
            entry.abroad = True

    def _found_other(self, client: Client, message: m.CreateActor, other: Actor) -> None:
        error = ""
        self._is_found(other)
        if not message.get_if_exists:
            error = (
                f"an actor named {message.name!r} exists already in namespace {message.namespace!r}; "
                "use get_if_exists=True to get that one"
            )
        self.node.send(client, m.FoundActor(message.request, other.id, other.spec.meta, error))

    def on_connect(self, client: Client, message: m.ConnectActor, fds: list[int]) -> None:
        """A client wants to call an actor; the actor's end of the channel comes along, unless it only asks the head."""
        if len(fds) > 1 or (not fds and not self.node.node_no):
            _close(fds)
            raise ValueError(f"a channel to an actor came with {len(fds)} descriptors")
        if fds and self.node.node_no:
            worker = self.worker_of(message.id)
            if worker is None:
                _close(fds)  # it has ended: the head says so
            else:
                self.node.serve(worker, client.id, fds[0])
        elif message.id in self.table.by_id:
            self._connect(client, message, fds)
        else:  # its creation is perhaps still in the creator's channel
            self.parked.append(Parked(client, message, fds))

    def _connect(self, client: Client, message: m.ConnectActor, fds: list[int]) -> None:
        actor = self.table.by_id.get(message.id)
        if actor is None or actor.state is State.DEAD:
            _close(fds)
            death = actor.death if actor else m.Death("it is not known to this cluster")
            error, restarts = (actor.error, actor.restarts) if actor else (b"", 0)
            self.node.send(client, m.ActorChanged(message.id, "dead", restarts, 0, error, death))
            return
        actor.callers.add(client.id)
        if not fds:
            pass  # it asks where the actor is
        elif actor.worker:
            self.node.serve(self.node.workers[actor.worker], client.id, fds[0])
        else:
            self._channels.setdefault(message.id, []).append((client.id, fds[0]))
        state = "pending" if actor.state is not State.ALIVE else "moving" if actor.moving else "alive"
        number = self.number_of(actor)
        self.node.send(client, m.ActorChanged(actor.id, state, actor.restarts, actor.pid, node=number))

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
            self._is_found(actor)
            self.node.send(client, m.FoundActor(message.request, actor.id, actor.spec.meta))

    def on_ready(self, client: Client, message: m.ActorReady) -> None:
        """A constructor has returned, or raised."""
        hosted = self._hosted_by_worker.get(client.worker)
        if hosted is None:
            self.apply(self.table.ready(client.worker, message.error))
        else:
            hosted.ready, hosted.error = True, message.error
            self._tell_head(c.ActorIsReady(hosted.spec.id, hosted.restarts, message.error))

    # ------------------------------------------------------------ rounds of the node's loop

    def take_parked(self) -> list[Parked]:
        """Requests that wait for a creation. Read all channels empty, then `connect` them; or `park` them again."""
        parked, self.parked = self.parked, []
        return parked

    def park(self, parked: list[Parked]) -> None:
        """Not everything was read: they go on waiting."""
        self.parked[:0] = parked

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
            self._keep(actor)
            node.history.actor_changed(actor)
            if isinstance(effect, Place):
                self._place_somewhere(actor)
            elif isinstance(effect, Unplace):
                node.scheduler.forget_actor(actor.id)
                if actor.node:
                    self._tell_node(actor.node, c.UnplaceActor(actor.id))
            elif isinstance(effect, Tell):
                self._tell(actor)
            elif actor.worker >> NODE_BITS:
                reason = c.MOVED if actor.moving and effect.drain else actor.why_killed
                self._tell_node(actor.worker >> NODE_BITS, c.EndActor(actor.id, effect.drain, reason))
            else:
                self._end(actor.worker, effect.drain)

    def _end(self, worker: int, drain: bool, reason: str = "") -> None:
        if drain:
            self.node.send(self.node.workers[worker], m.Stop(drain=True, reason=reason))
        else:
            if reason in (PROGRAM_ENDED, PROGRAM_GONE):
                self.node.farewells.ask(worker, told=reason == PROGRAM_ENDED)
            self.node.pool.kill(worker, signal.SIGKILL)

    def _want(self, spec: m.CreateActor, job: str) -> None:
        needed = to_units(spec.placement), to_units(spec.resources)
        crew = self.node.environments.crew(job, spec.env)
        self.node.scheduler.want_actor(WaitingActor(spec.id, crew, *needed))
        self.node.decide_again()

    def _place_somewhere(self, actor: Actor) -> None:
        """Choose a node for an actor: this one, or in a cluster another."""
        group, _ = group_of(actor.spec.placement)
        if group and bytes.fromhex(group) not in self.node.groups.table.by_id:
            self.apply(self.table.give_up(actor.id, m.Death(GROUP_REMOVED)))
            return
        if self.node.head is None:
            self._want(actor.spec, actor.job)
            return
        number = self._choose(actor)
        if number is None:
            self.apply(self.table.give_up(actor.id, m.Death(self._why_not_there(actor))))
            return
        self._send_to(actor, number)

    def _send_to(self, actor: Actor, number: int) -> None:
        actor.node = number
        self._keep(actor)
        if number:
            job, may_restart = self.jobs[actor.job], self.table.may_restart(actor)
            self._tell_node(number, c.PlaceActor(actor.spec, actor.restarts, job, may_restart))

    def _why_not_there(self, actor: Actor) -> str:
        ident = actor.spec.node_id
        info = policy.called(self.node.view, ident)
        if info is not None and info.brought and info.state != c.DEAD and actor.spec.detached:
            return f"it is detached, and must be on node {ident}, which ends with the program that has brought it along"
        return f"it must be on node {ident}, which is gone, or is being drained"

    def _may_be_on(self, actor: Actor) -> tuple[int, policy.View, dict[str, int]]:
        """Where an actor comes from, the nodes that it may be on if they can, and what it needs."""
        spec, view = actor.spec, self.node.view
        return (
            int.from_bytes(actor.creator[:4], "big"),
            policy.lasting(view) if spec.detached else view,
            to_units(spec.placement),
        )

    def has_place(self, actor: Actor) -> bool:
        """Whether a node could run an actor now, or when something comes free there."""
        maker, view, request = self._may_be_on(actor)
        return bool(policy.ranked(view, maker, request))

    def _choose(self, actor: Actor) -> int | None:
        """The number of the node for an actor; 0 when there is none now, None when the one that it must be on is gone. What no
        node could ever run waits where it was created, or, if it is detached, with the head."""
        spec = actor.spec
        maker, view, request = self._may_be_on(actor)
        if spec.node_id == policy.SPREAD:
            self._turn += 1
            shares, _ = policy.spread(view, maker, request, 1, self._turn)
            if shares:
                return next(iter(shares))
        elif spec.node_id:
            there = (c.ALIVE, c.AWAY)
            found = next((no for no, info in view.items() if info.id == spec.node_id and info.state in there), None)
            if found is not None or not spec.node_soft:
                return found
        found = policy.place(view, maker, request)
        if found is None:
            if spec.detached:
                return (
                    0  # no node can show what it waits for: to others, those of programs look as if they could run it
                )
            alive = sorted(
                no for no, info in view.items() if info.state == c.ALIVE and policy.may_take(info, maker, request)
            )
            found = maker if maker in alive else next(iter(alive), 0)
        return found

    def _tell_node(self, number: int, message: Any) -> None:
        assert self.node.head is not None
        self.node.head.send_to(number, message)

    def _tell_head(self, message: Any) -> None:
        assert self.node.cluster is not None
        self.node.cluster.send_to_head(message)

    def number_of(self, actor: Actor) -> int:
        """The node that an actor with a process lives on; 0: the only one."""
        return actor.worker >> NODE_BITS or self.node.node_no

    def _tell(self, actor: Actor) -> None:
        if actor.state is State.DEAD:
            _close(fd for _, fd in self._channels.pop(actor.id, ()))
            self._forget(actor)
        state = "moving" if actor.moving and actor.state is State.ALIVE else str(actor.state)
        message = m.ActorChanged(actor.id, state, actor.restarts, actor.pid, actor.error, actor.death)
        message.node = self.number_of(actor)
        for caller in actor.callers:
            client = self.node.clients.get(caller)
            if client is not None:
                self.node.send(client, message)

    def _forget(self, actor: Actor) -> None:
        """An actor is dead: what only it or those before it needed is not kept."""
        head = self.node.head
        forgotten, self.table.forgotten = self.table.forgotten, []
        if head is None:
            return
        for ident in forgotten:
            head.rows.forget(ident)
        if actor.job not in self.node.jobs:
            self.job_may_be_over(actor.job)

    def job_may_be_over(self, job: str) -> None:
        """A driver has gone, or something of its job has ended: if that was the last, the job is over."""
        if job in self.jobs and not self.table.living(job) and not self.node.groups.table.living(job):
            assert self.node.head is not None
            self.jobs.pop(job, None)
            self.node.head.rows.forget_job(job)

    def place(self, ident: bytes, lease: Lease) -> None:
        """A worker was found for an actor."""
        worker = self.node.workers[lease.worker]
        hosted = self.hosted.get(ident)
        if hosted is not None:
            hosted.worker, hosted.pid = lease.worker, worker.pid
            self._hosted_by_worker[lease.worker] = hosted
            self.node.output.logs.became(lease.worker, ident.hex())
            self.node.send(worker, m.BeActor(hosted.spec, hosted.restarts, lease.gpus))
            self._tell_head(c.ActorPlaced(ident, hosted.restarts, lease.worker, worker.pid))
            return
        actor = self.table.placed(ident, lease.worker, worker.pid)
        self.node.output.logs.became(lease.worker, ident.hex())
        self.node.send(worker, m.BeActor(actor.spec, actor.restarts, lease.gpus))
        for caller, fd in self._channels.pop(ident, ()):
            self.node.serve(worker, caller, fd)

    def forget(self, client: Client) -> None:
        """A client has ended: nobody tells it anything any more."""
        for actor in self.table.by_id.values():
            actor.callers.discard(client.id)

    # ------------------------------------------------------------ what the rest of the node asks and tells

    def is_actor(self, worker: int) -> bool:
        """Whether a worker of this node is an actor."""
        return worker in self.table.by_worker or worker in self._hosted_by_worker

    def name_of(self, worker: int) -> str:
        """What actor a worker of this node is, for messages; "" if it is none."""
        hosted = self._hosted_by_worker.get(worker)
        return "" if hosted is None else f"actor {hosted.spec.name or hosted.spec.class_name}"

    def spec_of(self, worker: int) -> m.CreateActor | None:
        """The actor that a worker of this node is, if it is one."""
        found = self._hosted_by_worker.get(worker) or self.table.by_worker.get(worker)
        return None if found is None else found.spec

    def worker_of(self, ident: bytes) -> Client | None:
        """The process of an actor that lives here."""
        hosted = self.hosted.get(ident)
        if hosted is not None:
            return self.node.workers.get(hosted.worker)
        actor = self.table.by_id.get(ident)
        return self.node.workers.get(actor.worker) if actor is not None else None

    def hello_of(self, job: str) -> m.Hello | None:
        """What workers of a job start with of which only actors are here."""
        info = next((hosted.job for hosted in self.hosted.values() if hosted.job.job == job), None)
        if info is None:
            return None
        environment = info.sys_path, info.cwd, info.alias_ray, info.main_path
        return m.Hello(__version__, 0, info.namespace, "", info.log_to_driver, *environment, job=job)

    def leaving(self, worker: int) -> None:
        """A worker ends on purpose."""
        actor = self.table.by_worker.get(worker)
        if actor is not None:
            actor.ends = True

    def process_died(self, worker: int, death: m.Death) -> None:
        """A worker has ended."""
        hosted = self._hosted_by_worker.pop(worker, None)
        if hosted is None:
            self.apply(self.table.process_died(worker, death))
            return
        self._unhost(hosted)
        self._tell_head(c.ActorDied(hosted.spec.id, hosted.restarts, death))

    def _unhost(self, hosted: Hosted) -> None:
        """An actor is not here any more. If it was all of its job that was here, no worker of the job is needed."""
        del self.hosted[hosted.spec.id]
        job = hosted.job.job
        if job not in self.node.jobs and not any(other.job.job == job for other in self.hosted.values()):
            self.node.end_job(job)

    def group_removed(self, group: bytes) -> None:
        """A placement group is gone: so are its actors."""
        for actor in list(self.table.by_id.values()):
            spec = actor.spec
            if actor.state is not State.DEAD and group_of(spec.placement)[0] == group.hex():
                self.apply(self.table.kill(actor.id, True, GROUP_REMOVED))

    def job_ended(self, job: str, told: bool = False) -> None:
        """A driver has gone; `told`: in order."""
        self.node.groups.apply(self.node.groups.table.job_ended(job))
        self.apply(self.table.job_ended(job, told))
        self.job_may_be_over(job)

    def released(self, ident: bytes) -> None:
        """Nobody has a handle any more."""
        self.apply(self.table.release(ident))

    # ------------------------------------------------------------ between head and nodes

    def from_head(self, message: Any) -> None:
        """The head wants something of the actors here."""
        if isinstance(message, c.PlaceActor):
            known = self.hosted.get(message.spec.id)
            if known is not None and known.restarts == message.restarts:
                return  # a head that was started again does not know what it has said
            self.hosted[message.spec.id] = Hosted(message.spec, message.restarts, message.job, message.may_restart)
            self._want(message.spec, message.job.job)
            return
        hosted = self.hosted.get(message.id)
        if hosted is None:
            return
        if isinstance(message, c.EndActor) and hosted.worker:
            self._end(hosted.worker, message.drain, message.reason)
        elif not hosted.worker:
            self.node.scheduler.forget_actor(message.id)
            self._unhost(hosted)

    def from_node(self, number: int, message: Any) -> None:
        """A node tells what has become of an actor that it was given. What is about an older incarnation is late."""
        if isinstance(message, c.JobEnded):
            self.job_ended(message.job, message.told)
            return
        actor = self.table.by_id.get(message.id)
        if actor is None or actor.restarts != message.restarts or actor.node != number:
            if isinstance(message, c.ActorPlaced):  # it is wanted elsewhere by now, or not any more
                self._tell_node(number, c.EndActor(message.id, False))
            return
        key = actor.worker
        if isinstance(message, c.ActorPlaced):
            if actor.state is State.DEAD:
                self._tell_node(number, c.EndActor(message.id, False))
                return
            self.table.placed(message.id, number << NODE_BITS | message.worker, message.pid)
            self._keep(actor)
            if actor.kill_wanted:
                self._tell_node(number, c.EndActor(message.id, False))
        elif isinstance(message, c.ActorIsReady):
            self.apply(self.table.ready(key, message.error))
        elif isinstance(message, c.ActorDied) and key:
            self.apply(self.table.process_died(key, message.death, self._is_draining(number)))
        elif isinstance(message, c.CannotPlace):
            self._give_up(actor, message.reason, message.error)

    def hosted_now(self) -> list[c.HostedActor]:
        """What the head should know of the actors here, whatever it has heard."""
        return [
            c.HostedActor(ident, actor.restarts, actor.worker, actor.pid, actor.ready, actor.error)
            for ident, actor in self.hosted.items()
        ]

    def node_joined(self, number: int, actors: list[c.HostedActor]) -> None:
        """A node is there, or is back after it or the head had lost the other: these actors are on it, and no others."""
        found = {hosted.id: hosted for hosted in actors}
        for actor in [actor for actor in self.table.by_id.values() if actor.node == number]:
            hosted = found.get(actor.id)
            wanted = actor.state is not State.DEAD and not actor.kill_wanted
            if hosted is not None and wanted and hosted.restarts == actor.restarts:
                del found[actor.id]
                self._is_there(actor, number, hosted)
            elif hosted is not None or actor.state is State.DEAD:
                continue
            elif actor.worker:
                death = m.Death("its process ended while the head was away")
                self.apply(self.table.process_died(actor.worker, death))
            elif wanted:
                self._send_to(actor, number)
        for ident in found:  # nobody wants them any more
            self._tell_node(number, c.EndActor(ident, False))

    def _is_there(self, actor: Actor, number: int, hosted: c.HostedActor) -> None:
        """A node has an actor that it should have: what it did while the head was away."""
        if hosted.worker and not actor.worker:
            self.from_node(number, c.ActorPlaced(actor.id, actor.restarts, hosted.worker, hosted.pid))
        if hosted.ready and actor.state is State.STARTING:
            self.from_node(number, c.ActorIsReady(actor.id, actor.restarts, hosted.error))
        if actor.released and actor.worker:
            self._tell_node(number, c.EndActor(actor.id, True))

    def node_died(self, number: int, reason: str) -> None:
        """A node is gone, and its actors with it: those that may go on elsewhere."""
        drained = self._is_draining(number)
        for key in [key for key in self.table.by_worker if key >> NODE_BITS == number]:
            self.apply(self.table.process_died(key, m.Death(f"its node is gone: {reason}"), drained))
        for actor in list(self.table.by_id.values()):
            if actor.node == number and not actor.worker and actor.state in _WAITING:
                self._place_somewhere(actor)

    def _is_draining(self, number: int) -> bool:
        """Whether a node has to go, or had to: what that does to its actors is not their fault."""
        info = self.node.view.get(number)
        return info is not None and info.drain is not None

    def view_changed(self) -> None:
        """There may be room now for actors that wait on a node that has none."""
        view = self.node.view
        hopeless: set[tuple[object, ...]] = set()
        for actor in self.table.waiting():
            request = to_units(actor.spec.placement)
            wish = actor.spec.node_id, *sorted(request.items())
            if wish in hopeless:
                continue
            here = view.get(actor.node)
            if here is not None and (here.state == c.AWAY or policy.room_now(here, request)):
                continue
            number = self._choose(actor)
            if number and number != actor.node and (here is None or policy.room_now(view[number], request)):
                if actor.node:
                    self._tell_node(actor.node, c.UnplaceActor(actor.id))
                self._send_to(actor, number)
            else:
                hopeless.add(wish)

    def cannot_start(self, crew: str, reason: str, error: bytes = b"") -> None:
        """No worker can be started for a crew: its actors that wait for one are given up."""
        for hosted in [h for h in self.hosted.values() if crew_of(h.job.job, h.spec.env) == crew and not h.worker]:
            self.node.scheduler.forget_actor(hosted.spec.id)
            self._unhost(hosted)
            self._tell_head(c.CannotPlace(hosted.spec.id, hosted.restarts, reason, error))
        for actor in [a for a in self.table.by_id.values() if crew_of(a.job, a.spec.env) == crew]:
            if actor.state in _WAITING:
                self._give_up(actor, reason, error)

    def _give_up(self, actor: Actor, reason: str, error: bytes) -> None:
        actor.error = error
        self.apply(self.table.give_up(actor.id, m.Death(reason)))


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
