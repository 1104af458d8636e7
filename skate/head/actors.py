"""The life of actors.

Pure: events in, a list of effects out; the node carries them out and knows the processes.

    pending --placed--> starting --ready--> alive --died--> restarting --placed--> starting ...
       any state --killed, released, out of restarts, or __init__ raised--> dead

INV-1: a name belongs to at most one actor that is not dead.
INV-2: `by_worker` has exactly the actors that have a process, `_homeless` those that are to get one.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from msgspec import Struct, field

from ..wire.cluster import MOVED
from ..wire.messages import INLINE, CreateActor, Death, Value

DEAD_ACTORS_MAX = 10_000
"""How many dead actors are remembered, for the errors of late callers."""


PROGRAM_ENDED = "its program has ended"
PROGRAM_GONE = "its program has ended without a word"
KILLED = "it was killed by skate.kill"


class State(StrEnum):
    """Where an actor is in its life."""

    PENDING = "pending"
    STARTING = "starting"
    ALIVE = "alive"
    RESTARTING = "restarting"
    DEAD = "dead"


class Actor(Struct, eq=False):
    """One actor, and all its incarnations."""

    id: bytes
    spec: CreateActor
    job: str
    creator: bytes
    state: State = State.PENDING
    restarts: int = 0
    node: int = 0
    """The node that was chosen for it, by number, in a cluster."""
    worker: int = 0
    pid: int = 0
    error: bytes = b""
    death: Death | None = None
    callers: set[bytes] = field(default_factory=set)
    released: bool = False
    kill_wanted: bool = False
    ends: bool = False
    why_killed: str = ""
    moving: bool = False
    """Its node is drained: it ends there after what has been sent to it, and is started elsewhere."""
    moves: int = 0
    """How many of its restarts were not its own fault, and are not charged to it."""


class Place(Struct, eq=False):
    """Find a worker for the actor."""

    actor: Actor


class Tell(Struct, eq=False):
    """Tell every caller of the actor's state."""

    actor: Actor


class End(Struct, eq=False):
    """End the actor's process: at once, or (drain) after what has been sent to it."""

    actor: Actor
    drain: bool


class Unplace(Struct, eq=False):
    """The actor does not wait for a worker any more."""

    actor: Actor


Effect = Place | Tell | End | Unplace


class Actors:
    """All actors of the cluster."""

    def __init__(self) -> None:
        self.by_id: dict[bytes, Actor] = {}
        self.by_name: dict[tuple[str, str], bytes] = {}
        self.by_worker: dict[int, Actor] = {}
        self._homeless: dict[bytes, Actor] = {}
        self._dead: deque[bytes] = deque()
        self.forgotten: list[bytes] = []
        """Dead actors that are not remembered any more, since the shell has looked."""

    def create(self, client: bytes, job: str, spec: CreateActor) -> list[Effect]:
        """A client creates an actor; its name, if it has one, is free."""
        actor = Actor(spec.id, spec, job, client)
        actor.callers.add(client)
        self.by_id[spec.id] = self._homeless[spec.id] = actor
        if spec.name:
            self.by_name[spec.namespace, spec.name] = spec.id
        return [Place(actor)]

    def restore(self, actor: Actor) -> None:
        """A head was started again: this was one of its actors."""
        self.by_id[actor.id] = actor
        spec = actor.spec
        if actor.state is State.DEAD:
            self._dead.append(actor.id)
        elif spec.name and not actor.kill_wanted and not actor.released:
            self.by_name[spec.namespace, spec.name] = actor.id
        if actor.worker:
            self.by_worker[actor.worker] = actor
        elif actor.state is not State.DEAD:
            self._homeless[actor.id] = actor

    def waiting(self) -> list[Actor]:
        """The actors that have no process, and should."""
        return list(self._homeless.values())

    def living(self, job: str) -> bool:
        """Whether a job has an actor that is not dead."""
        return any(actor.job == job and actor.state is not State.DEAD for actor in self.by_id.values())

    def find(self, namespace: str, name: str) -> Actor | None:
        """The actor of that name that is not dead."""
        ident = self.by_name.get((namespace, name))
        return self.by_id.get(ident) if ident is not None else None

    def placed(self, ident: bytes, worker: int, pid: int) -> Actor:
        """A worker was found."""
        actor = self.by_id[ident]
        actor.state = State.STARTING
        actor.moving = False
        actor.worker = worker
        actor.pid = pid
        self.by_worker[worker] = actor
        self._homeless.pop(ident, None)
        return actor

    def ready(self, worker: int, error: bytes) -> list[Effect]:
        """The constructor has returned, or raised."""
        actor = self.by_worker.get(worker)
        if actor is None or actor.state is not State.STARTING:
            return []
        if error:
            actor.error = error
            actor.kill_wanted = True
            return [End(actor, drain=False)]
        actor.state = State.ALIVE
        return [Tell(actor)]

    def may_restart(self, actor: Actor) -> bool:
        """Whether it is started again when its process dies by no will of anybody's."""
        left = actor.spec.max_restarts
        wanted = not (actor.kill_wanted or actor.released or actor.ends)
        return wanted and (left < 0 or actor.restarts - actor.moves < left)

    def move(self, ident: bytes) -> list[Effect]:
        """Its node is drained. Callers hold their calls back from now on; when they have heard so, it is to be ended."""
        actor = self.by_id[ident]
        actor.moving = True
        return [Tell(actor)]

    def process_died(self, worker: int, death: Death, drained: bool = False) -> list[Effect]:
        """The actor's process has ended; `drained`: with a node that had to go, so that no restart is charged."""
        actor = self.by_worker.pop(worker, None)
        if actor is None:
            return []
        if actor.why_killed:
            death = Death(actor.why_killed, death.signal, death.exit_code, intended=True, pid=death.pid)
        actor.death = death
        actor.worker = actor.pid = 0
        moved = actor.moving and death.reason == MOVED
        actor.moving = False
        if self.may_restart(actor) and (moved or not death.intended):
            actor.restarts += 1
            actor.moves += moved or drained
            actor.state = State.RESTARTING
            self._homeless[actor.id] = actor
            return [Tell(actor), Place(actor)]
        return self._dead_now(actor)

    def kill(self, ident: bytes, no_restart: bool, reason: str = KILLED) -> list[Effect]:
        """Somebody kills it, or (with another reason) something."""
        actor = self.by_id.get(ident)
        if actor is None or actor.state is State.DEAD:
            return []
        if no_restart:
            actor.kill_wanted = True
            actor.why_killed = reason
            self._free_name(actor)
        if actor.worker:
            return [End(actor, drain=False)]
        if not no_restart:
            return []
        actor.death = Death(f"{KILLED} before it had started" if reason == KILLED else reason, intended=True)
        return [Unplace(actor), *self._dead_now(actor)]

    def give_up(self, ident: bytes, death: Death) -> list[Effect]:
        """No worker can be had for it."""
        actor = self.by_id[ident]
        self.by_worker.pop(actor.worker, None)
        actor.worker = actor.pid = 0
        actor.death = death
        return [Unplace(actor), *self._dead_now(actor)]

    def release(self, ident: bytes) -> list[Effect]:
        """No handle is left: it ends after what has been sent to it, unless it is detached, or being killed."""
        actor = self.by_id.get(ident)
        if actor is None or actor.state is State.DEAD or actor.spec.detached or actor.kill_wanted:
            return []
        actor.released = actor.ends = True
        self._free_name(actor)
        if actor.worker:
            return [End(actor, drain=True)]
        actor.death = Death("all handles to it were dropped", intended=True)
        return [Unplace(actor), *self._dead_now(actor)]

    def job_ended(self, job: str, told: bool = False) -> list[Effect]:
        """A driver has gone: its actors end, but for detached ones; `told`: in order."""
        reason = PROGRAM_ENDED if told else PROGRAM_GONE
        effects: list[Effect] = []
        for actor in [a for a in self.by_id.values() if a.job == job and not a.spec.detached]:
            effects.extend(self.kill(actor.id, True, actor.why_killed if actor.kill_wanted else reason))
        return effects

    def _free_name(self, actor: Actor) -> None:
        key = (actor.spec.namespace, actor.spec.name)
        if actor.spec.name and self.by_name.get(key) == actor.id:
            del self.by_name[key]

    def _dead_now(self, actor: Actor) -> list[Effect]:
        actor.state = State.DEAD
        self._homeless.pop(actor.id, None)
        spec = actor.spec
        spec.body = Value(INLINE)  # it will not be started again: its arguments and code are not needed
        spec.dependencies = None
        spec.definition.code = None
        self._free_name(actor)
        self._dead.append(actor.id)
        if len(self._dead) > DEAD_ACTORS_MAX:
            oldest = self._dead.popleft()
            self.by_id.pop(oldest, None)
            self.forgotten.append(oldest)
        return [Tell(actor)]

    def validate(self) -> None:
        """Check the invariants; for tests and the simulator."""
        for (namespace, name), ident in self.by_name.items():
            actor = self.by_id[ident]
            assert actor.state is not State.DEAD and (actor.spec.namespace, actor.spec.name) == (namespace, name)
        homeless = {a.id for a in self.by_id.values() if not a.worker and a.state is not State.DEAD}
        assert homeless == set(self._homeless)
        assert {a.worker for a in self.by_id.values() if a.worker} == set(self.by_worker)
