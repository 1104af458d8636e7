"""The actors of one operator: how many there are, and which one gets the next task.

A pool begins with its initial size, grows while all of its actors have enough to do, and lets go of those that have had nothing
to do for a while. Tasks go to actors that are constructed only, so that one that cannot be placed yet holds nothing up.

An actor whose options do not say `num_cpus` holds no CPU: the executor itself starts no more than the CPUs can do, and an actor
that waits for its input takes nothing from the tasks that make it. So a pool cannot stop what feeds it, even on one CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from ...api.decorator import remote
from ...api.objects import kill
from .loaded import loaded
from .operators import Operator, Work
from .produce import produce

TASKS_PER_ACTOR = 2
"""One runs, one waits with its blocks at hand."""
IDLE_S = 5.0
"""An actor beyond the least number that has had nothing to do for so long is ended."""
RETRIES = 3
"""How often a task is run again whose actor has died."""


class MapActor:
    """Runs the tasks of one operator, one after the other, with what its functions have constructed."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def prepare(self) -> None:
        """Construct what the functions need; what that raises keeps its type."""
        if self._work.prepare is not None:
            self._work.prepare()

    def run(self, extra: Any, files: tuple[str, ...], *inputs: Any) -> Iterator[Any]:
        """As a task."""
        return produce(self._work, extra, files, inputs)


class Actor:
    """An actor of a pool, and how many tasks it has."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.prepared = handle.prepare.remote()
        self.tasks = 0
        self.is_ready = False
        self.idle_since = 0.0


class Pool:
    """The actors of one operator.

    Args:
        operator: whose tasks they run.
        most: how many may be of use at all, whatever the pool's own limit is.
        told: called with each new actor, to hear when it is ready.
    """

    def __init__(self, operator: Operator, most: int, told: Callable[[Actor], None]) -> None:
        work = operator.pooled
        assert work is not None
        self.operator = operator
        self._work = work
        self._told = told
        self.least = work.pool.min_size
        self.most = max(self.least, min(work.pool.max_size, most))
        self.cpus = reserved_cpus(work)
        self.actors: list[Actor] = []
        self._class = remote(**{"max_task_retries": RETRIES, **_options(work)})(MapActor)
        for _ in range(self.least):
            self._add()

    def _add(self) -> None:
        actor = Actor(self._class.remote(self._work))
        self.actors.append(actor)
        self._told(actor)

    def has_room(self) -> bool:
        """Whether an actor could take a task now. If none can, and tasks wait, there will be one more."""
        if any(actor.is_ready and actor.tasks < TASKS_PER_ACTOR for actor in self.actors):
            return True
        if len(self.actors) < self.most and all(actor.is_ready for actor in self.actors):
            self._add()
        return False

    def choose(self) -> Actor:
        """The actor for the next task: it counts as its."""
        able = [actor for actor in self.actors if actor.is_ready]
        actor = min(able, key=lambda each: each.tasks)
        actor.tasks += 1
        return actor

    def ended(self, actor: Actor) -> None:
        """A task of an actor has ended."""
        actor.tasks -= 1
        if not actor.tasks:
            actor.idle_since = time.monotonic()

    def ready(self, actor: Actor) -> None:
        """An actor has constructed what it needs."""
        actor.is_ready = True
        actor.idle_since = time.monotonic()

    def shrink(self) -> None:
        """Let actors go that have had nothing to do for a while, or never will have again."""
        complete = not self.operator.open and not self.operator.can_start
        before = time.monotonic() - (0.0 if complete else IDLE_S)
        idle = [actor for actor in self.actors if actor.is_ready and not actor.tasks and actor.idle_since <= before]
        for actor in idle[: len(self.actors) - (0 if complete else self.least)]:
            self.actors.remove(actor)  # it ends with its last handle

    @property
    def busy(self) -> int:
        """How many actors have something to do."""
        return sum(actor.tasks > 0 for actor in self.actors)

    def kill(self) -> None:
        """End all actors at once."""
        for actor in self.actors:
            kill(actor.handle)
        self.actors.clear()


def reserved_cpus(work: Work) -> float:
    """How many CPUs each of its actors holds."""
    return float(work.options.get("num_cpus") or 0)


def _options(work: Work) -> dict[str, Any]:
    options = dict(work.options)
    options.setdefault("num_cpus", 0)
    options.setdefault("max_restarts", -1)
    if not options["num_cpus"] and "scheduling_strategy" not in options:
        options["scheduling_strategy"] = "SPREAD"  # what needs no CPU would all be placed on one node
    return loaded(**options)
