"""One seed, from its beginning to its end."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...client.reasons import why_ref
from . import checks
from .cluster import Cluster, DriverRun
from .faults import Faults
from .program import Program
from .stand_ins import installed
from .world import BEGIN_S, World

MACHINES = 3
SPARE_MACHINES = 1
"""On which a node may join later."""
DRIVERS_ON = (1, 2)
ACTS_MAX = 14
ACTING_S = 6.0
FAULTS_S = 7.0
DONE_S = 90.0
"""After the last fault all work has its outcome within this time."""
QUIET_S = 40.0
TOLD = 40
"""So many of the last events are told of a failure."""


class SeedFailed(AssertionError):
    """A history in which something was wrong."""

    def __init__(self, seed: int, why: str, last: list[str]) -> None:
        self.seed = seed
        self.why = why
        events = "\n".join(last)
        replay = f"python -m skate.testing.simulation --seed {seed} --trace"
        super().__init__(f"seed {seed}: {why}\n\nThe last events:\n{events}\n\nReplay it with:  {replay}")


class Summary:
    """What one history was made of."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.events = world.steps
        self.seconds = world.now - BEGIN_S
        self.faults = faults.count
        self.mark = world.rng.getrandbits(64)
        """Of two histories that differ anywhere, this differs."""


def run(seed: int, trace: Callable[[str], None] | None = None) -> Summary:
    """Live through the history of a seed.

    Args:
        seed: any number.
        trace: called with each event in words.

    Raises:
        SeedFailed: something that must hold did not; the message has the last events.
    """
    world = World(seed, trace)
    with stage(world) as cluster:
        try:
            return _live(world, cluster)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            why = str(error) or f"{where.line} in {where.name}, {where.filename}:{where.lineno}"
            if not isinstance(error, AssertionError):
                why = f"{type(error).__name__}: {why}"
            raise SeedFailed(seed, why, world.last(TOLD)) from error


@contextmanager
def stage(world: World, machines: int = MACHINES + SPARE_MACHINES) -> Iterator[Cluster]:
    """Machines without nodes, on which whoever has them makes a history happen. In the end everything is closed."""
    was_enabled = gc.isenabled()
    gc.disable()  # so that references end at the same moment each time
    try:
        cluster = Cluster(world, machines)
        with installed(cluster):
            try:
                yield cluster
            finally:
                with world.running(None):
                    for process in world.processes:
                        process.die("it is over")
    finally:
        if was_enabled:
            gc.enable()


def _live(world: World, cluster: Cluster) -> Summary:
    rng = world.rng
    for number in range(1, MACHINES + 1):
        cluster.start_node(number, rng.randint(2, 3))
    drivers = [DriverRun(cluster.machines[number], f"d{number}") for number in DRIVERS_ON]
    for driver in drivers:
        driver.enter(driver.boot)
    programs = [Program(driver, rng) for driver in drivers]
    for program in programs:
        program.driver.looks = program.look
    cluster.on_head = lambda head: checks.nothing_was_forgotten(head, drivers)
    cluster.on_begun = lambda worker, label: checks.actor_is_alone(cluster, worker)
    faults = Faults(cluster, programs, rng)
    cluster.on_missed = lambda: checks.something_was_lost(faults.count)
    for program in programs:
        for _ in range(rng.randint(3, ACTS_MAX)):
            at = world.now + rng.uniform(0.1, ACTING_S)
            world.at(at, lambda program=program: program.driver.post(program.act))  # type: ignore[misc]
    world.run(world.now + FAULTS_S)
    _end(world, cluster, drivers, programs, faults)
    return Summary(world, faults)


def _end(world: World, cluster: Cluster, drivers: list[DriverRun], programs: list[Program], faults: Faults) -> None:
    """Faults have stopped: everything comes to its end, and nothing is left."""
    for program in programs:
        program.driver.post(program.finish)

    if not world.run(world.now + DONE_S, lambda: not any(p.open for p in programs if p.driver.alive)):
        raise AssertionError(f"without an outcome: {_why(programs)}")
    for program in programs:
        if program.driver.alive:
            program.close(faults.count)
    _until_quiet(world, cluster, drivers, gone=False)
    for driver in drivers:
        driver.die("its program is over")
    _until_quiet(world, cluster, drivers, gone=True)


def _why(programs: list[Program]) -> str:
    out = []
    for program in programs:
        runtime = program.driver.runtime
        if program.driver.alive and runtime is not None:
            out += [f"{work.label} ({why_ref(runtime, work.ref).text})" for work in program.open]
    return "; ".join(out[:10])


def _until_quiet(world: World, cluster: Cluster, drivers: list[DriverRun], gone: bool) -> None:
    left: list[str] = []
    until = world.now + QUIET_S
    while world.now < until:
        left = checks.left_over(cluster, drivers, gone)
        if not left:
            return
        world.run(world.now + 0.25)
    raise AssertionError(f"left over{' without drivers' if gone else ''}: " + "; ".join(left))
