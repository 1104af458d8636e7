"""What goes wrong, when: drawn from the seed, at most a few things in one history.

A fault is a method of `Faults` and a weight in `KINDS`. The head's machine keeps its power and its node: without these there is
no cluster any more.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from .workers import Worker

if TYPE_CHECKING:
    from .cluster import Cluster, NodeRun
    from .program import Program

FIRST_S, LAST_S = 0.3, 6.0
KINDS = {
    "kill_worker": 4,
    "cut": 3,
    "part": 3,
    "freeze": 2,
    "freeze_worker": 1,
    "kill_node": 2,
    "power_off": 1,
    "kill_head": 3,
    "freeze_head": 1,
    "kill_driver": 1,
    "join": 2,
}


class Faults:
    """The faults of one history."""

    def __init__(self, cluster: Cluster, programs: list[Program], rng: random.Random) -> None:
        self.cluster = cluster
        self.programs = programs
        self.rng = rng
        self.count = 0
        """Faults that work may have suffered from."""
        quiet = rng.random() < 0.15
        number = 0 if quiet else rng.choice((1, 1, 2, 2, 3, 4, 5))
        kinds = rng.choices(list(KINDS), list(KINDS.values()), k=number)
        world = cluster.world
        for kind in kinds:
            world.at(world.now + rng.uniform(FIRST_S, LAST_S), lambda kind=kind: self._inject(kind))  # type: ignore[misc]

    def _inject(self, kind: str) -> None:
        self.count += kind != "join"
        getattr(self, f"_{kind}")()

    def _say(self, what: str) -> None:
        self.cluster.world.say(lambda: f"FAULT: {what}")

    def _others(self) -> list[NodeRun]:
        return [run for run in self.cluster.nodes() if run.machine.number != 1 and not run.booting]

    # ------------------------------------------------------------ kinds

    def _workers(self) -> list[Worker]:
        return [each for each in self.cluster.world.processes if isinstance(each, Worker) and each.alive]

    def _kill_worker(self) -> None:
        workers = self._workers()
        if workers:
            busy = [worker for worker in workers if worker.running is not None or worker.actor is not None]
            worker = self.rng.choice(busy or workers)
            self._say(f"{worker.name} is killed")
            worker.end(9, "it was killed")

    def _freeze_worker(self) -> None:
        workers = self._workers()
        if workers:
            worker, seconds = self.rng.choice(workers), self.rng.uniform(0.1, 4.0)
            self._say(f"{worker.name} is frozen for {seconds:.2f} s")
            worker.freeze(seconds)

    def _cut(self) -> None:
        route = self.rng.choice(list(self.cluster.routes.values()))
        ends = list(route.ends)
        if not ends:
            return
        end = self.rng.choice(ends)
        self._say(f"a connection is cut: {_owner(end)} to {_owner(end.peer)}")
        world = self.cluster.world
        end.flying.clear()
        end.peer.flying.clear()
        for each in (end, end.peer):
            world.after(1e-3, 1.0, each.break_off)
        end.lossy = end.peer.lossy = True

    def _part(self) -> None:
        two, route = self.rng.choice(list(self.cluster.routes.items()))
        seconds = self.rng.choice((self.rng.uniform(0.1, 2.5), self.rng.uniform(2.5, 8.0)))
        self._say(f"machines {sorted(two)} do not reach each other for {seconds:.2f} s")
        self.cluster.part(route, seconds)

    def _freeze(self) -> None:
        run = self.rng.choice(self.cluster.nodes())
        seconds = self.rng.uniform(0.1, 1.5 if run.machine.number == 1 else 5.0)
        self._say(f"{run.name} is frozen for {seconds:.2f} s")
        run.freeze(seconds)

    def _kill_node(self) -> None:
        others = self._others()
        if others:
            run = self.rng.choice(others)
            self._say(f"{run.name} is killed")
            run.die("it was killed")

    def _power_off(self) -> None:
        others = self._others()
        if others:
            run = self.rng.choice(others)
            self._say(f"machine {run.machine.number} loses its power")
            run.machine.power_off()

    def _kill_head(self) -> None:
        head = self.cluster.head
        if head is not None and head.alive:
            self._say("the head is killed")
            head.die("it was killed")

    def _freeze_head(self) -> None:
        head = self.cluster.head
        if head is not None and head.alive:
            seconds = self.rng.uniform(0.1, 4.0)
            self._say(f"the head is frozen for {seconds:.2f} s")
            head.freeze(seconds)

    def _kill_driver(self) -> None:
        driver = self.rng.choice(self.programs).driver
        if driver.alive:
            self._say(f"{driver.name} is killed")
            driver.die("it was killed")

    def _join(self) -> None:
        """A new node, on a machine whose node has died, or that had none yet."""
        free = [machine for machine in self.cluster.machines.values() if machine.on and not machine.has_node]
        if free:
            machine = self.rng.choice(free)
            self._say(f"machine {machine.number} joins")
            self.cluster.start_node(machine.number, 2)


def _owner(end: object) -> str:
    watchers = getattr(end, "watchers", {})
    return next((str(epoll.owner) for epoll in watchers), "...")
