"""The simulation finds bugs: each test here breaks something on purpose, and one of `SEEDS` seeds must fail.

Most are found by the seeds that are always run (`test_seeds.py`); what needs several rare things at once is found by later ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from skate.client.submitter import Submitter
from skate.head.rows import Rows
from skate.node import cluster as members
from skate.node.actors import ActorShell
from skate.node.cluster import Cluster
from skate.node.directory import Directory
from skate.node.resources import Pool
from skate.node.scheduler import Scheduler
from skate.testing.simulation import SeedFailed, run
from skate.wire import cluster as c

SEEDS = 200


def nothing(*_: Any) -> None:
    """In place of something that matters."""


def a_fenced_node_goes_on(patch: Any) -> None:
    inner = Cluster._on_message
    patch(members, "FENCE_AFTER_S", 1e9)
    patch(Cluster, "_on_message", lambda self, message: isinstance(message, c.Fenced) or inner(self, message))


def a_lease_is_kept_when_its_worker_dies(patch: Any) -> None:
    inner = Scheduler.release

    def release(self: Scheduler, worker: int) -> None:
        lease = self.leases.get(worker)
        inner(self, worker)
        if lease is not None and lease.client and self.pool.free.get("CPU", 0) == self.pool.total["CPU"]:
            self.leases[worker] = lease
            self.pool.take(lease.amounts)

    patch(Scheduler, "release", release)


def a_task_that_ran_is_run_again_without_a_retry(patch: Any) -> None:
    inner = Submitter.split_dead

    def split_dead(*arguments: Any) -> Any:
        ran, rest = inner(*arguments)
        return None, [ran, *rest] if ran is not None else rest

    patch(Submitter, "split_dead", split_dead)


def the_head_does_not_write_what_becomes_of_actors(patch: Any) -> None:
    patch(Rows, "keep", nothing)


def a_death_of_an_older_incarnation_counts(patch: Any) -> None:
    inner = ActorShell.from_node

    def from_node(self: ActorShell, number: int, message: Any) -> None:
        actor = self.table.by_id.get(getattr(message, "id", b""))
        if actor is not None and isinstance(message, c.ActorDied):
            message.restarts, number = actor.restarts, actor.node
        inner(self, number, message)

    patch(ActorShell, "from_node", from_node)


def what_a_dead_client_held_stays_held(patch: Any) -> None:
    patch(Directory, "client_gone", nothing)


def a_bundle_is_not_given_back(patch: Any) -> None:
    patch(Pool, "give_back", nothing)


def more_is_given_than_there_is(patch: Any) -> None:
    patch(Scheduler, "_fits", lambda self, amounts, reserved: self.pool.feasible(amounts))


def what_was_taken_back_is_lost(patch: Any) -> None:
    inner = Submitter.requeue
    patch(Submitter, "requeue", lambda self, tasks: inner(self, list(tasks)[1:]))


MUTANTS: dict[Callable[[Any], None], int] = {
    a_fenced_node_goes_on: 10,
    a_lease_is_kept_when_its_worker_dies: 0,
    a_task_that_ran_is_run_again_without_a_retry: 87,
    the_head_does_not_write_what_becomes_of_actors: 21,
    a_death_of_an_older_incarnation_counts: 661,
    what_a_dead_client_held_stays_held: 6,
    a_bundle_is_not_given_back: 0,
    more_is_given_than_there_is: 0,
    what_was_taken_back_is_lost: 1,
}
"""Each with a seed that has found it when this was written: there the search begins."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_seed_finds_it(mutant: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch.setattr)
    first = MUTANTS[mutant]
    for seed in range(first, first + SEEDS):
        try:
            run(seed)
        except SeedFailed as error:
            print(f"seed {seed}: {error.why[:200]}")
            return
    pytest.fail(f"none of {SEEDS} seeds from {first} on has found it")
