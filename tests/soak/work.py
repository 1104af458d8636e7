"""What the drivers of the soak do: one class for each use of skate, each a loop of steps whose results are checked.

A step says which errors are no failure, which faults must have happened to excuse them, and how many. Whatever else goes
wrong, a wrong value, another error or a `get` that takes too long, ends the soak.
"""

from __future__ import annotations

import os
import random
import time
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import skate
from skate.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    ObjectLostError,
    TaskCancelledError,
    WorkerCrashedError,
)
from skate.util.placement_group import placement_group, remove_placement_group
from skate.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from .judge import DEATHS, NODE_LOSS

if TYPE_CHECKING:
    from .driver import World

MB = 1_000_000
BLOCK = 1 << 16
KEEPER = "keeper"
NAMESPACE = "soak"
MEMBER = {"member": 0.01}
"""What only nodes have that are not the head's: work that asks for it leaves the driver's node."""


def content(seed: int, size: int) -> bytes:
    """Bytes that only depend on the seed."""
    block = random.Random(seed).randbytes(BLOCK)
    return (block * (size // BLOCK + 1))[:size]


def mixed(number: int) -> int:
    """What a small task computes."""
    return number * 2_654_435_761 % 1_000_003


@skate.remote(max_retries=-1)
def small(number: int, seconds: float) -> int:
    time.sleep(seconds)
    return mixed(number)


@skate.remote(max_retries=-1)
def tree(number: int, depth: int, fan: int) -> int:
    if not depth:
        return mixed(number)
    below = [tree.remote(number * fan + child, depth - 1, fan) for child in range(fan)]
    return sum(skate.get(below))


def tree_sum(number: int, depth: int, fan: int) -> int:
    """What `tree` returns."""
    return mixed(number) if not depth else sum(tree_sum(number * fan + child, depth - 1, fan) for child in range(fan))


@skate.remote(max_retries=-1)
def link(before: bytes, step: int, size: int) -> bytes:
    return content(zlib.crc32(before) + step, size)


@skate.remote(max_retries=-1)
def make(seed: int, size: int) -> bytes:
    return content(seed, size)


@skate.remote(max_retries=-1)
def digest(data: bytes) -> int:
    return zlib.crc32(data)


@skate.remote(max_retries=-1)
def put_there(seed: int, size: int) -> tuple[int, list[Any]]:
    return skate.get_runtime_context().get_node_id(), [skate.put(content(seed, size))]


@skate.remote(max_retries=-1)
def stream(seed: int, count: int, size: int) -> Iterator[bytes]:
    for item in range(count):
        time.sleep(0.005)
        yield content(seed + item, size)


class Counter:
    """An actor whose state is made again by its constructor."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, token: int) -> tuple[int, int, int]:
        self.count += 1
        return token, os.getpid(), self.count


Calls: Any = skate.remote(Counter)


class Activity:
    """One use of skate."""

    name: ClassVar[str]

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng

    def step(self) -> int:
        """Do it once; returns the number of results that were checked."""
        raise NotImplementedError

    def anywhere(self) -> dict[str, Any]:
        """Options that put work where the scheduler likes, on all nodes in turn, or away from the head's node."""
        return self.rng.choice([{}, {"scheduling_strategy": "SPREAD"}, {"resources": MEMBER}])

    def same(self, found: Any, wanted: Any) -> None:
        """Compare."""
        if found != wanted:
            raise AssertionError(f"{self.name}: {str(found)[:200]} is not {str(wanted)[:200]}")

    def check_digests(self, refs: list[Any], wanted: list[int]) -> int:
        """Have objects read on other nodes."""
        self.same(self.world.get([digest.options(**self.anywhere()).remote(ref) for ref in refs]), wanted)
        return len(refs)


class Plain(Activity):
    """Tasks in bulk."""

    name = "plain"

    def step(self) -> int:
        rng = self.rng
        numbers = [rng.randrange(1 << 20) for _ in range(rng.randint(20, 150))]
        task = small.options(**self.anywhere())
        refs = [task.remote(number, rng.choice((0, 0, 0.002, 0.02))) for number in numbers]
        self.same(self.world.get(refs), [mixed(number) for number in numbers])
        return len(refs)


class Retried(Activity):
    """Tasks that may be tried twice, one at a time."""

    name = "retried"

    def step(self) -> int:
        number = self.rng.randrange(1 << 20)
        with self.world.excusing({WorkerCrashedError: DEATHS}, times=2):
            ref = small.options(max_retries=1, **self.anywhere()).remote(number, self.rng.uniform(0.05, 0.5))
            self.same(self.world.get(ref), mixed(number))
        return 1


class Nested(Activity):
    """Tasks that wait for tasks that they start."""

    name = "nested"

    def step(self) -> int:
        roots = [(self.rng.randrange(1000), self.rng.randint(1, 2), self.rng.randint(2, 4)) for _ in range(3)]
        refs = [tree.options(**self.anywhere()).remote(*root) for root in roots]
        self.same(self.world.get(refs), [tree_sum(*root) for root in roots])
        return len(refs)


class Chain(Activity):
    """Each task is given what the one before it returns; what is lost on the way is made again."""

    name = "chain"

    def step(self) -> int:
        size = self.rng.choice((100, 20_000, 200_000, 1_000_000))
        ref: Any = make.options(**self.anywhere()).remote(1, size)
        wanted = content(1, size)
        for step in range(self.rng.randint(3, 8)):
            ref = link.options(**self.anywhere()).remote(ref, step, size)
            wanted = content(zlib.crc32(wanted) + step, size)
        self.same(self.world.get(ref), wanted)
        return 1


class Big(Activity):
    """Large objects, made on one node and read on others."""

    name = "big"

    def step(self) -> int:
        seed, size = self.rng.randrange(1 << 30), self.rng.randint(MB, 30 * MB)
        ref = make.options(**self.anywhere()).remote(seed, size)
        wanted = zlib.crc32(content(seed, size))
        done = self.check_digests([ref, ref], [wanted, wanted])
        if self.rng.random() < 0.3:
            self.same(zlib.crc32(self.world.get(ref)), wanted)
        return done


class Put(Activity):
    """Objects that were put: here, where they live as long as this driver, and by tasks, where a node may take them along."""

    name = "put"

    def step(self) -> int:
        seed, size = self.rng.randrange(1 << 30), self.rng.randint(MB // 10, 8 * MB)
        wanted = zlib.crc32(content(seed, size))
        if self.rng.random() < 0.5:
            return self.check_digests([skate.put(content(seed, size))], [wanted])
        node, (ref,) = self.world.get(put_there.options(**self.anywhere()).remote(seed, size))
        with self.world.excusing({ObjectLostError: NODE_LOSS}, node_id=node):
            self.check_digests([ref], [wanted])
            self.same(zlib.crc32(self.world.get(ref)), wanted)
        return 2


class Actor(Activity):
    """Actors that come back: calls that are made again, and calls that are made once at the most."""

    name = "actor"

    def step(self) -> int:
        retries = self.rng.choice((0, -1))
        actor = Calls.options(max_restarts=-1, max_task_retries=retries, **self.anywhere()).remote()
        seen: dict[int, int] = {}
        count = 0
        for _ in range(self.rng.randint(1, 4)):
            refs = [actor.add.remote(count + at) for at in range(self.rng.randint(1, 30))]
            for ref in refs:
                with self.world.excusing({} if retries else {ActorUnavailableError: DEATHS}):
                    token, pid, counted = self.world.get(ref)
                    self.same(token, count)
                    if counted <= seen.get(pid, 0) or (not retries and counted > count + 1):
                        raise AssertionError(f"actor: call {token} was counted {counted}, after {seen.get(pid, 0)}")
                    seen[pid] = counted
                count += 1
        if self.rng.random() < 0.5:
            skate.kill(actor)
        return count


class Mortal(Activity):
    """Actors that are not started again."""

    name = "mortal"

    def step(self) -> int:
        actor = Calls.options(**self.anywhere()).remote()
        count = self.rng.randint(5, 20)
        with self.world.excusing({ActorDiedError: DEATHS, ActorUnavailableError: DEATHS}):
            for token in range(count):
                found = self.world.get(actor.add.remote(token))
                self.same((found[0], found[2]), (token, token + 1))
        return count


class Named(Activity):
    """A detached actor that both drivers find by its name."""

    name = "named"

    def step(self) -> int:
        keeper = skate.get_actor(KEEPER, namespace=NAMESPACE)
        tokens = [self.rng.randrange(1 << 20) for _ in range(self.rng.randint(1, 10))]
        found = self.world.get([keeper.add.options(max_task_retries=-1).remote(token) for token in tokens])
        self.same([token for token, _, _ in found], tokens)
        return len(tokens)


class Streams(Activity):
    """Generators whose items are read while they are made."""

    name = "stream"

    def step(self) -> int:
        seed, count = self.rng.randrange(1 << 30), self.rng.randint(1, 30)
        size = self.rng.choice((100, 1000, 300_000))
        options = {"num_returns": "streaming", **self.anywhere()}
        items = stream.options(**options).remote(seed, count, size)
        for item in range(count):
            ref = self.world.next(items)
            with self.world.excusing({ObjectLostError: NODE_LOSS} if size > BLOCK else {}):
                self.same(self.world.get(ref), content(seed + item, size))
        self.same(self.world.next(items), None)
        return count


class Waits(Activity):
    """`wait` keeps its time limit, and says the truth."""

    name = "wait"
    SLACK_S = 8.0

    def step(self) -> int:
        rng = self.rng
        numbers = [rng.randrange(1 << 20) for _ in range(8)]
        refs = [small.options(**self.anywhere()).remote(number, rng.uniform(0, 0.5)) for number in numbers]
        limit = rng.uniform(0, 0.5)
        began = time.monotonic()
        ready, rest = skate.wait(refs, num_returns=rng.randint(1, 8), timeout=limit)
        took = time.monotonic() - began
        if took > limit + self.SLACK_S or sorted(map(id, [*ready, *rest])) != sorted(map(id, refs)):
            raise AssertionError(f"wait: {len(ready)} and {len(rest)} of 8 after {took:.1f} s of {limit:.1f} s")
        values = dict(zip(refs, numbers, strict=True))
        for ref in [*ready, *rest]:
            self.same(self.world.get(ref), mixed(values[ref]))
        return len(refs)


class Cancels(Activity):
    """Tasks that are cancelled while they wait or run."""

    name = "cancel"

    def step(self) -> int:
        number, seconds = self.rng.randrange(1 << 20), self.rng.uniform(0, 1)
        ref = small.options(**self.anywhere()).remote(number, seconds)
        time.sleep(self.rng.uniform(0, 0.3))
        skate.cancel(ref, force=self.rng.random() < 0.5)
        with self.world.excusing({TaskCancelledError: ()}, times=0):
            self.same(self.world.get(ref), mixed(number))
        return 1


class Groups(Activity):
    """Placement groups that are made, used and removed, also when a node takes a bundle along."""

    name = "group"

    def step(self) -> int:
        rng = self.rng
        group = placement_group([{"CPU": 0.5}] * 2, strategy=rng.choice(("PACK", "SPREAD", "STRICT_PACK")))
        try:
            self.world.get(group.ready())
            numbers = [rng.randrange(1 << 20) for _ in range(6)]
            refs = []
            for at, number in enumerate(numbers):
                inside = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=at % 2)
                refs.append(small.options(num_cpus=0.5, scheduling_strategy=inside).remote(number, 0.02))
            self.same(self.world.get(refs), [mixed(number) for number in numbers])
        finally:
            remove_placement_group(group)
        return len(numbers)


class Spills(Activity):
    """More large objects than a store has room for, kept and read in any order."""

    name = "spill"
    COUNT = 10

    def step(self) -> int:
        seeds = [self.rng.randrange(1 << 30) for _ in range(self.COUNT)]
        sizes = [self.rng.randint(4 * MB, 10 * MB) for _ in seeds]
        refs = [make.options(**self.anywhere()).remote(seed, size) for seed, size in zip(seeds, sizes, strict=True)]
        order = self.rng.sample(range(self.COUNT), self.COUNT)
        wanted = [zlib.crc32(content(seeds[at], sizes[at])) for at in order]
        return self.check_digests([refs[at] for at in order], wanted)


ACTIVITIES: list[type[Activity]] = [
    Plain, Retried, Nested, Chain, Big, Put, Actor, Mortal, Named, Streams, Waits, Cancels, Groups, Spills,
]  # fmt: skip
