"""Histories that are written down, for what seeds have found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skate.client.refs import VALUE
from skate.client.specs import ActorOptions, ActorSpec, FunctionSpec, MethodOptions, TaskOptions
from skate.testing.simulation.cluster import Cluster, DriverRun
from skate.testing.simulation.history import stage
from skate.testing.simulation.program import Part, work
from skate.testing.simulation.world import World


class Scene:
    """A cluster in which a test says what happens."""

    def __init__(self, world: World, cluster: Cluster) -> None:
        self.world = world
        self.cluster = cluster
        self.drivers: list[DriverRun] = []

    def start(self, *cpus: int, drivers: tuple[int, ...] = (1,)) -> None:
        """Start a node for each number of CPUs, and drivers on the machines with these numbers."""
        for number, count in enumerate(cpus, 1):
            self.cluster.start_node(number, count)
        for number in drivers:
            driver = DriverRun(self.cluster.machines[number], f"d{number}")
            driver.enter(driver.boot)
            self.drivers.append(driver)
        self.until(lambda: all(driver.runtime is not None for driver in self.drivers))
        self.wait(0.5)

    def wait(self, seconds: float) -> None:
        """Let time go on."""
        self.world.run(self.world.now + seconds)

    def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Let time go on until something is so."""
        assert self.world.run(self.world.now + seconds, condition), "it does not happen"

    def succeeds(self, *refs: Any) -> None:
        """Let time go on until these have values."""
        self.until(lambda: all(ref._state == VALUE for ref in refs))

    def do(self, what: Callable[[Any], Any], driver: int = 0) -> Any:
        """Run something in a driver; its result."""
        found: list[Any] = []
        run = self.drivers[driver]
        run.post(lambda: found.append(what(run.runtime)))
        self.until(lambda: bool(found))
        return found[0]

    def tasks(self, count: int, seconds: float, resources: Any = None, node_id: str = "", driver: int = 0) -> list[Any]:
        """Submit tasks; their references."""
        spec = FunctionSpec(work, TaskOptions("work", resources or {"CPU": 1.0}, max_retries=-1, node_id=node_id))
        refs: list[Any] = self.do(lambda rt: [rt.submit(spec, (f"t{n}", seconds), {}) for n in range(count)], driver)
        return refs

    def actor(self, restarts: int = -1, node_id: str = "", driver: int = 0) -> Any:
        """Create an actor; its reference."""
        spec = ActorSpec(Part, ActorOptions("Part", max_restarts=restarts, node_id=node_id), {})
        return self.do(lambda rt: rt.create_actor(spec, (), {}, b"")[0], driver)

    def call(self, actor: Any, seconds: float = 1e-3, retries: int = -1, driver: int = 0) -> Any:
        """Call an actor; the reference."""
        method = MethodOptions("work", max_task_retries=retries)
        return self.do(lambda rt: rt.call(actor, method, ("call", seconds), {}), driver)

    def cut(self, number: int, first: str, seconds: float = 0.5) -> None:
        """Cut the first driver's connection to a node, or the head: one side hears of it at once, the other later."""
        link = self.drivers[0].runtime.links._peers[number]  # type: ignore[union-attr]
        end = self.cluster.net.by_fd[link.channel.fd].end
        end.lossy = end.peer.lossy = True
        one, other = (end, end.peer) if first == "driver" else (end.peer, end)
        one.break_off()
        self.world.at(self.world.now + seconds, other.break_off)

    @property
    def head(self) -> Any:
        """The node in the head's process."""
        head = self.cluster.head_node
        assert head is not None
        return head.node


def staged(test: Callable[[Scene], None]) -> Callable[[], None]:
    """Run a test on a stage. Not a fixture: pytest changes `sys.stderr` between those and the test."""

    def run() -> None:
        world = World(1)
        with stage(world) as cluster:
            test(Scene(world, cluster))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run
