"""Who gets a worker: the leases of one node.

Pure: demands, releases and deaths in; grants and the number of workers to start out.

A demand is a level: "this client could use N workers for requests of this shape". It is met while resources last, the
deepest first: a task that waits for its children has lent its CPU, and only its children can give it back, so they go
before other work; that bounds the number of workers that a recursion needs. Among equals the demand with the fewest
leases is next, and then the one that was served longest ago: which is fair to many drivers, and to the different tasks of one.

INV-1: the resources of all leases and actors that are not lent, plus what is free, are the total.
INV-2: a worker is idle, leased, an actor, or unknown here; never two of these.
"""

from __future__ import annotations

from msgspec import Struct, field

from ..wire.environments import job_of
from ..wire.labels import in_request, without
from .resources import Amounts, Pool, cpu_part, gpu_request

SLICE_S = 0.1
"""The only worker of somebody is asked back for another who has none when it was had for so long."""


class Demand(Struct, eq=False):
    """How many workers a client could use for one shape."""

    client: bytes
    crew: str
    """Whom its workers are for: its job, or those tasks of it that run in one environment."""
    shape: int
    amounts: Amounts
    count: int
    depth: int
    order: int
    held: int = 0
    lacks_since: float = 0.0
    """Since when there was no room for the first of them; 0: there was."""
    short: int = 0
    """Of those that it lacks: for how many there will be nothing here when all workers that are starting are there."""


class Lease(Struct, eq=False):
    """A worker in use: by a client's tasks, or (client empty) as an actor."""

    worker: int
    client: bytes
    shape: int
    amounts: Amounts
    depth: int = 0
    lent: int = 0
    gpus: list[int] = field(default_factory=list)
    since: float = 0.0


class WaitingActor(Struct, eq=False):
    """An actor that waits for resources and a worker; or the entrypoint of a job, which waits for resources alone."""

    id: bytes
    crew: str
    placement: Amounts
    amounts: Amounts
    lacks_since: float = 0.0
    lease: int = 0
    """Of what needs no worker: the number of its lease, below 0 as no worker's is."""


class Scheduler:
    """The leases of one node."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.demands: dict[tuple[bytes, int], Demand] = {}
        self.leases: dict[int, Lease] = {}
        self.idle: dict[str, list[int]] = {}
        self.starting: dict[str, int] = {}
        self.preparing: set[str] = set()
        """Crews whose environment is being set up: until it is, nothing is kept for them."""
        self.actors: list[WaitingActor] = []
        self.met: set[str] = set()
        """Of what requests ask of the labels of their node: what this node has."""
        self.closed = False
        """The node is drained: nobody gets a worker any more."""
        self._order = 0
        self.contended = False
        """Somebody waited for what others have when this was last looked at."""

    # ------------------------------------------------------------ events

    def want(self, client: bytes, crew: str, shape: int, amounts: Amounts, count: int, depth: int) -> None:
        """A client's demand for one shape is `count` from now on."""
        demand = self.demands.get((client, shape))
        if demand is None:
            self._order += 1
            demand = self.demands[client, shape] = Demand(client, crew, shape, amounts, 0, depth, self._order)
            demand.held = sum(lease.client == client and lease.shape == shape for lease in self.leases.values())
        demand.count = count

    def want_actor(self, actor: WaitingActor) -> None:
        """An actor is to be placed."""
        self.actors.append(actor)

    def forget_actor(self, ident: bytes) -> None:
        """An actor that waits is not wanted any more."""
        self.actors = [actor for actor in self.actors if actor.id != ident]

    def worker_idle(self, worker: int, crew: str) -> None:
        """A worker is ready for work."""
        self.idle.setdefault(crew, []).append(worker)

    def release(self, worker: int) -> None:
        """A lease has ended, by its client or by death."""
        lease = self.leases.pop(worker, None)
        if lease is None:
            for idle in self.idle.values():
                if worker in idle:
                    idle.remove(worker)
            return
        if not lease.lent:
            self.pool.give(lease.amounts)
        else:
            cpus = cpu_part(lease.amounts)
            self.pool.give({name: units for name, units in lease.amounts.items() if name not in cpus})
        self.pool.give_gpus(lease.gpus, lease.amounts)
        demand = self.demands.get((lease.client, lease.shape))
        if demand is not None:
            demand.held -= 1

    def blocked(self, worker: int, is_blocked: bool) -> None:
        """A worker waits in `get` and lends its CPU, or is back."""
        lease = self.leases.get(worker)
        if lease is None:
            return
        cpu = cpu_part(lease.amounts)
        if is_blocked and not lease.lent:
            lease.lent = 1
            self.pool.give(cpu)
        elif not is_blocked and lease.lent:
            lease.lent = 0
            self.pool.take(cpu)

    def job_gone(self, job: str) -> None:
        """A driver has gone: nothing of its job is idle or starting any more."""
        for table in (self.idle, self.starting):
            for crew in [crew for crew in table if job_of(crew) == job]:
                del table[crew]

    def crew_gone(self, crew: str) -> None:
        """A crew has no workers any more, and may never have any again."""
        if not self.idle.get(crew):
            self.idle.pop(crew, None)

    def client_gone(self, client: bytes) -> None:
        """A client has no demands any more. Its leases are released one by one."""
        for key in [key for key in self.demands if key[0] == client]:
            del self.demands[key]

    def cannot_start(self, client: bytes, crew: str) -> None:
        """What a client wants of a crew, it wants in vain."""
        for key in [key for key, demand in self.demands.items() if key[0] == client and demand.crew == crew]:
            del self.demands[key]

    def wanted(self, crew: str) -> bool:
        """Whether anybody waits for a worker of a crew."""
        return any(d.crew == crew and d.count > d.held for d in self.demands.values()) or any(
            actor.crew == crew for actor in self.actors
        )

    def asked(self) -> set[str]:
        """The crews that anybody has asked for and not taken back: they may have all that they want now, and lack it again."""
        return {demand.crew for demand in self.demands.values() if demand.count} | {actor.crew for actor in self.actors}

    # ------------------------------------------------------------ decisions

    def decide(self, now: float = 0.0) -> tuple[list[Lease], list[tuple[WaitingActor, Lease]], dict[str, int]]:
        """New leases for tasks, new actors with their workers, and how many workers to start for each crew."""
        if self.closed:
            return [], [], {}
        granted: list[Lease] = []
        placed: list[tuple[WaitingActor, Lease]] = []
        start: dict[str, int] = {}
        reserved: Amounts = {}
        self._place_actors(placed, start, reserved, now)
        ranked = sorted(
            (d for d in self.demands.values() if d.count > d.held),
            key=lambda d: (-d.depth, d.held, d.order),
        )
        for demand in ranked:
            wanted = demand.held
            if demand.crew in self.preparing:
                demand.short = demand.count - wanted
                continue
            if (
                not wanted
                and not self._fits(demand.amounts, reserved)
                and self._keeps_room(demand, demand.amounts, now)
            ):
                _add(reserved, without(demand.amounts))
            while demand.count > wanted and self._fits(demand.amounts, reserved):
                wanted += 1
                idle = self.idle.get(demand.crew)
                if idle:
                    granted.append(self._grant(idle.pop(), demand))
                else:
                    _add(reserved, demand.amounts)
                    start[demand.crew] = start.get(demand.crew, 0) + 1
            demand.short = demand.count - wanted
        return (
            granted,
            placed,
            {crew: n - self.starting.get(crew, 0) for crew, n in start.items() if n > self.starting.get(crew, 0)},
        )

    def _keeps_room(self, waiting: Demand | WaitingActor, amounts: Amounts, now: float) -> bool:
        """Whether what comes free is kept for somebody who lacks it, and perhaps needs more than ever comes free at once.

        It is, from the second to the fourth second that it waits, from the 8th to the 16th, and so on: long enough in the end
        for whatever runs, and never for most of the time.
        """
        waiting.lacks_since = waiting.lacks_since or now
        waited = int(now - waiting.lacks_since)
        return waited > 1 and waited.bit_length() % 2 == 0 and self._feasible(amounts)

    def _place_actors(
        self, placed: list[tuple[WaitingActor, Lease]], start: dict[str, int], reserved: Amounts, now: float
    ) -> None:
        waiting = []
        for actor in self.actors:
            if actor.crew in self.preparing:
                waiting.append(actor)
                continue
            if not (self._fits(actor.placement, reserved) and self._fits(actor.amounts, reserved)):
                waiting.append(actor)
                if self._keeps_room(actor, actor.placement, now):
                    _add(reserved, without(actor.placement | actor.amounts))
                continue
            idle = self.idle.get(actor.crew)
            if not idle and not actor.lease:
                _add(reserved, actor.amounts)
                start[actor.crew] = start.get(actor.crew, 0) + 1
                waiting.append(actor)
                continue
            number = actor.lease or (idle.pop() if idle else 0)
            lease = Lease(number, b"", -1, without(actor.amounts))
            self._take(lease)
            placed.append((actor, lease))
        self.actors = waiting

    def _fits(self, amounts: Amounts, reserved: Amounts) -> bool:
        """Whether a request fits beside those that workers are being started for. GPU requests start one by one."""
        wish = in_request(amounts)
        if wish:
            if wish not in self.met:
                return False
            amounts = without(amounts)
        if not reserved:
            return self.pool.fits(amounts)
        if gpu_request(amounts)[1] and gpu_request(reserved)[1]:
            return False
        free = self.pool.free
        return self.pool.fits(amounts) and all(
            free.get(name, 0) - reserved.get(name, 0) >= units for name, units in amounts.items()
        )

    def _grant(self, worker: int, demand: Demand) -> Lease:
        lease = Lease(worker, demand.client, demand.shape, without(demand.amounts), demand.depth)
        demand.held += 1
        demand.lacks_since = 0.0
        self._order += 1
        demand.order = self._order
        self._take(lease)
        return lease

    def _take(self, lease: Lease) -> None:
        self.pool.take(lease.amounts)
        lease.gpus = self.pool.take_gpus(lease.amounts)
        self.leases[lease.worker] = lease

    def starved(self, now: float) -> list[tuple[bytes, int, int]]:
        """Whom to ask for workers back, because somebody waits who could be served by them.

        Returns:
            (client, shape, how many busy ones). Shape -1: any of that client; otherwise another of its shapes waits.
        """
        if self.closed:
            holders = [lease.client for lease in self.leases.values() if lease.client]
            return [(client, -1, holders.count(client)) for client in set(holders)]
        usable = [d for d in self.demands.values() if d.crew not in self.preparing]
        hungry = [d for d in usable if d.count > d.held and self._feasible(d.amounts)]
        actors = [actor for actor in self.actors if actor.crew not in self.preparing]
        self.contended = bool(hungry or actors)
        if not self.contended:
            return []
        having: dict[bytes, list[Lease]] = {}
        for lease in self.leases.values():
            if lease.client:
                leases = having.setdefault(lease.client, [])
                if not lease.lent:
                    leases.append(lease)
        waiting = {d.client for d in hungry}
        empty_handed = {d.client: d.depth for d in hungry if d.held == 0 and not having.get(d.client)}
        too_many = self._too_many(hungry)
        for actor in actors:
            for client in self._holders(self._short(actor.placement) + self._short(actor.amounts)):
                too_many.setdefault(client, 1)
        deepest = max(empty_handed.values(), default=-1)
        out = []
        for client, leases in having.items():
            others = len(waiting) > (client in waiting) or bool(actors)
            busy = too_many.get(client, 0)
            if not busy and len(empty_handed) > (client in empty_handed):
                busy = int(len(leases) > 1 or self._long_had(leases, deepest, now))
            if others or busy:
                out.append((client, -1, busy))
        return out + self._siblings(hungry, having, now)

    @staticmethod
    def _long_had(leases: list[Lease], depth: int, now: float) -> bool:
        """Whether a worker was had for long by one that would not be the next to get it."""
        return any(lease.depth <= depth and now - lease.since >= SLICE_S for lease in leases)

    def _siblings(
        self, hungry: list[Demand], having: dict[bytes, list[Lease]], now: float
    ) -> list[tuple[bytes, int, int]]:
        """Shapes that have more than another shape of the same client, which lacks what they have: half of the difference."""
        found: dict[tuple[bytes, int], int] = {}
        for demand in hungry:
            mine = [lease for lease in having.get(demand.client, ()) if lease.shape != demand.shape]
            short = self._short(demand.amounts) if mine else ()
            shapes: dict[int, list[Lease]] = {}
            for lease in mine:
                if any(name in lease.amounts for name in short):
                    shapes.setdefault(lease.shape, []).append(lease)
            for shape, leases in shapes.items():
                more = len(leases) - demand.held
                busy = max(0, more // 2)
                if more == 1 and not demand.held:
                    busy = int(self._long_had(leases, demand.depth, now))
                if busy > found.get((demand.client, shape), 0):
                    found[demand.client, shape] = busy
        return [(client, shape, busy) for (client, shape), busy in found.items()]

    def _short(self, amounts: Amounts) -> tuple[str, ...]:
        """The resources of which less is free than is needed."""
        return tuple(n for n, units in without(amounts).items() if self.pool.free.get(n, 0) < units)

    def _too_many(self, hungry: list[Demand]) -> dict[bytes, int]:
        """How many workers clients have beyond their share of what somebody lacks: half of what they have more."""
        found: dict[bytes, int] = {}
        seen: dict[tuple[str, ...], dict[bytes, int]] = {}
        for demand in hungry:
            short = self._short(demand.amounts)
            if short not in seen:
                seen[short] = self._holders(short)
            mine = seen[short].get(demand.client, 0)
            for client, count in seen[short].items():
                if count - mine > found.get(client, 0) * 2 + 1:
                    found[client] = (count - mine) // 2
        return found

    def _holders(self, names: tuple[str, ...]) -> dict[bytes, int]:
        """How many leases of each client, lent ones left out, hold any of these resources."""
        counts: dict[bytes, int] = {}
        for lease in self.leases.values():
            if lease.client and not lease.lent and any(name in lease.amounts for name in names):
                counts[lease.client] = counts.get(lease.client, 0) + 1
        return counts

    def _feasible(self, amounts: Amounts) -> bool:
        wish = in_request(amounts)
        return (not wish or wish in self.met) and self.pool.feasible(without(amounts))

    def asking_labels(self) -> list[Amounts]:
        """The requests that ask for labels of their node."""
        actors = [actor.placement for actor in self.actors]
        return [a for a in (*(demand.amounts for demand in self.demands.values()), *actors) if in_request(a)]

    def _holds(self, client: bytes) -> int:
        return sum(lease.client == client and not lease.lent for lease in self.leases.values())

    def why(self) -> list[str]:
        """What waits, and for what."""
        lines = []
        for demand in self.demands.values():
            if demand.count > demand.held:
                lines.append(f"{demand.count - demand.held} more workers wanted by client {demand.client.hex()}")
        lines.extend(f"actor {actor.id.hex()} waits for resources" for actor in self.actors)
        return lines

    def validate(self) -> None:
        """Check the invariants; for tests and the simulator."""
        used: Amounts = {}
        for lease in self.leases.values():
            cpus = cpu_part(lease.amounts) if lease.lent else {}
            _add(used, {n: u for n, u in lease.amounts.items() if n not in cpus})
        for bundle in self.pool.bundles.values():
            _add(used, bundle.amounts)
        for name, units in self.pool.total.items():
            assert self.pool.free[name] + used.get(name, 0) == units, (name, self.pool.free, used)
        idle = [w for workers in self.idle.values() for w in workers]
        assert len(set(idle)) == len(idle) and not set(idle) & set(self.leases)


def _add(into: Amounts, amounts: Amounts) -> None:
    for name, units in amounts.items():
        into[name] = into.get(name, 0) + units
