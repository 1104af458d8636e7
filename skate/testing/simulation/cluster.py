"""A cluster in one process: machines with a node each, the head, and drivers, of the real classes.

Each machine has a node and its zygote. The first also has the head. What a process is made of is built inside `World.running`, so
that its sockets are its own and end with it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any, cast

from ...client.runtime import ClientRuntime
from ...node.head_process import HeadProcess
from ...node.join import serve_cluster
from ...node.membership import Membership
from ...node.service import Node
from ...version import __version__
from ...wire import heads, messages as m
from ...wire.channel import Channel, ChannelClosed, pair
from ...wire.config import HistoryConfig, MemoryConfig, SystemConfig
from .sockets import Epoll, Route, Socket, Sockets
from .stand_ins import Arena, Folder, MemoryStore, Popen
from .words import CONTROL, explain
from .workers import Ledger, Worker, Zygote
from .world import Process, World

ARENA_BYTES = 1 << 20
PORT = 7
NAMESPACE = "space"
HANDSHAKE_S = 5.0
"""So long a node waits for one that does not answer."""
SILENT_S = 5.0
"""So long a kernel waits for one that does not acknowledge."""


class NodeRun(Process):
    """One node's process."""

    node: SimNode

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.world, machine.name, machine)
        self.number = 0

    def boot(self, cpus: int) -> None:
        """Start, and join the cluster; the others go on meanwhile."""
        machine = self.machine
        mine, theirs = pair()
        self.zygote = Zygote(machine, theirs)
        arena = cast("Any", pair()[0]).fd
        system = SystemConfig(memory=MemoryConfig(refresh_ms=0), history=HistoryConfig(enabled=False))
        self.node = SimNode({"CPU": float(cpus)}, arena, ARENA_BYTES, machine.cluster.folder, Channel(mine), system)
        self.node.machine = machine
        machine.node = self
        is_head = machine.number == 1
        member = Membership(is_head, machine.host, PORT, "", machine.cluster.machines[1].host, PORT, machine.name)
        try:
            serve_cluster(self.node, member, None)
        except ConnectionError as error:
            self.die(f"it cannot join: {error}")
            return
        self.number = self.node.node_no
        self.wake()

    def step(self) -> None:
        """One round of its loop."""
        node = self.node
        node.round()
        if not node.running:
            assert node.cluster is not None
            node.cluster.leave()
            self.die("it has stopped")
            return
        if node.epoll.ready:  # type: ignore[attr-defined]
            self.wake()
        due = node.next_due()
        if due >= 0:
            self.wake(self.world.now + max(due, 2e-5))

    def check(self) -> None:
        """The books of this node are right, and it gives nothing twice."""
        scheduler = self.node.scheduler
        scheduler.validate()
        assert not self.node.faults.counts
        self.node.directory.validate()
        assert min(scheduler.pool.free.values()) >= 0, f"{self.name} has given more than it has: {scheduler.pool.free}"


class SimNode(Node):
    """The node, but for the one place where it reads the arena itself."""

    machine: Machine

    def running_on(self, worker: int) -> int:
        """See `Node`."""
        return self.machine.progress.get(worker, 0)


class HeadRun(Process):
    """The head's process."""

    head: HeadProcess

    def __init__(self, cluster: Cluster, sock: Socket) -> None:
        super().__init__(cluster.world, "head", cluster.machines[1])
        sock.give(self)
        self.sock = sock
        self.started = False

    def step(self) -> None:
        """One round of its loop; the first time, begin with what the store has."""
        if not self.started:
            channel = Channel(cast("Any", self.sock))
            received = channel.receive()
            assert received is not None
            settings = cast("heads.HeadSettings", heads.decode_to_head(received[0]))
            self.head = HeadProcess(channel, settings, self.machine.cluster.store)
            self.started = True
            self.machine.cluster.head_started(self)
        node = self.head.node
        node.round()
        if node.epoll.ready:  # type: ignore[attr-defined]
            self.wake()
        due = node.next_due()
        if due >= 0:
            self.wake(self.world.now + max(due, 2e-5))

    def check(self) -> None:
        """What the head believes makes sense."""
        if self.started:
            assert not self.head.node.faults.counts
            self.head.members.nodes.validate()
            self.head.node.actors.table.validate()
            self.head.node.groups.table.validate()
            self.head.node.directory.validate()


class DriverRun(Process):
    """One driver's process. What the program does is posted to it."""

    def __init__(self, machine: Machine, name: str) -> None:
        super().__init__(machine.world, name, machine)
        self.runtime: ClientRuntime | None = None
        self.looks: Callable[[], None] = lambda: None
        """The program looks what it has got."""

    def boot(self) -> None:
        """Connect to the node of its machine, and greet it."""
        mine, theirs = cast("tuple[Any, Any]", pair())
        node = self.machine.node
        theirs.give(node)
        node.post(lambda: node.node.add_client(theirs))
        explain(mine.end, CONTROL)
        self.channel = Channel(mine)
        self.epoll = Epoll(self.machine.cluster.net)
        self.epoll.register(mine.fd, 1)
        self.channel.send(m.encode(m.Hello(__version__, 1, NAMESPACE, self.name, False, [], "/", False, "")))

    def step(self) -> None:
        """Wait for the welcome; then what a waiting thread does."""
        runtime = self.runtime
        if runtime is None:
            runtime = self._greet()
        if runtime is None:
            return
        if runtime.closed:
            self.die(f"it has no node any more: {runtime.lost}")
            return
        runtime.pump.between()
        runtime.pump.turn(0)
        due = runtime.pump.between()
        if runtime.pump.epoll.ready:  # type: ignore[attr-defined]
            self.wake()
        if due is not None:
            self.wake(self.world.now + max(due, 2e-5))
        if runtime.closed:
            self.wake()

    def _greet(self) -> ClientRuntime | None:
        try:
            received = self.channel.receive()
        except ChannelClosed:
            self.die("its node is gone")
            return None
        if received is None:
            return None
        welcome = m.decode_from_node(received[0])
        assert isinstance(welcome, m.Welcome)
        self.epoll.close()
        arena: Any = Arena(self.machine)
        runtime = self.runtime = ClientRuntime(self.channel, welcome, arena, NAMESPACE, True)
        runtime.environment = ([], "/", False, "")
        with runtime.lock:
            runtime.links.head.open()
        return runtime

    def check(self) -> None:
        """Every task is in one place."""
        if self.runtime is not None and not self.runtime.closed:
            self.runtime.tasks.submitter.validate()
            self.looks()

    def ended(self) -> None:
        """Close what is real."""
        if self.runtime is not None:
            self.runtime.closed = True
            os.close(self.runtime.pump.wake_fd)


class Machine:
    """One machine."""

    node: NodeRun

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.number = number
        self.name = f"n{number}"
        self.host = f"10.0.0.{number}"
        self.on = True
        self.progress: dict[int, int] = {}

    @property
    def has_node(self) -> bool:
        """Whether a node lives on it."""
        return hasattr(self, "node") and self.node.alive

    def processes(self) -> list[Process]:
        """What runs on it."""
        return [process for process in self.world.processes if process.alive and process.machine is self]

    def power_off(self) -> None:
        """Everything on it is gone at once, and nobody hears of it."""
        self.on = False
        for route in self.cluster.routes_of(self):
            route.blocked_until = self.world.now + 1e9
            for end in list(route.ends):
                self.world.after(SILENT_S, SILENT_S + 1, end.break_off)
        for process in self.processes():
            process.die("its machine is off")


class Cluster:
    """All machines, and the head."""

    def __init__(self, world: World, machines: int) -> None:
        self.world = world
        self.folder: Any = Folder("/simulated")
        self.net = Sockets(world)
        self.store: Any = MemoryStore()
        self.machines = {number: Machine(self, number) for number in range(1, machines + 1)}
        slow = world.rng.choice((2e-3, 2e-2, 0.2))
        self.routes = {frozenset(two): Route(world, slow) for two in itertools.combinations(self.machines, 2)}
        self.head: HeadRun | None = None
        self.ledger = Ledger()
        self.on_head: Callable[[HeadProcess], None] = lambda head: None
        self.on_begun: Callable[[Worker, str], None] = lambda worker, label: None
        self.on_missed: Callable[[], None] = lambda: None

    # ------------------------------------------------------------ machines

    def machine_of(self, node: Node) -> Machine:
        """The machine of a node."""
        return next(machine for machine in self.machines.values() if machine.has_node and machine.node.node is node)

    def routes_of(self, machine: Machine) -> list[Route]:
        """The ways to a machine."""
        return [route for two, route in self.routes.items() if machine.number in two]

    def start_node(self, number: int, cpus: int) -> NodeRun:
        """Start a node on a machine."""
        run = NodeRun(self.machines[number])
        run.enter(lambda: run.boot(cpus))
        return run

    def start_head(self, fd: int) -> Popen:
        """A node starts the head; `fd` is the channel to it."""
        sock = self.net.by_fd[fd].dup()
        run = self.head = HeadRun(self, sock)
        self.world.after(0.05, 0.3, run.wake)
        return Popen(run)

    def head_started(self, run: HeadRun) -> None:
        """A head has read its store."""
        self.on_head(run.head)

    def begun(self, worker: Worker, label: str) -> None:
        """A worker begins with something."""
        self.ledger.begin(label)
        self.world.say(lambda: f"{worker.name} begins {label}")
        self.on_begun(worker, label)

    def missed(self, worker: Worker) -> None:
        """A worker could not get an argument."""
        self.world.say(lambda: f"{worker.name} misses an argument")
        self.on_missed()

    @property
    def head_node(self) -> HeadProcess | None:
        """The head, if it runs."""
        run = self.head
        return run.head if run is not None and run.alive and run.started else None

    def nodes(self) -> list[NodeRun]:
        """The nodes that live."""
        return [machine.node for machine in self.machines.values() if machine.has_node]

    # ------------------------------------------------------------ connections

    def part(self, route: Route, seconds: float) -> None:
        """Two machines do not reach each other for a while. If that is too long, their kernels give their connections up."""
        route.blocked_until = max(route.blocked_until, self.world.now + seconds)
        if seconds > SILENT_S:
            for end in list(route.ends):
                self.world.at(self.world.now + self.world.rng.uniform(SILENT_S, seconds), end.break_off)

    def dial(self, caller: Process, host: str, purpose: str, payload: bytes, then: Any) -> None:
        """A node connects to another: the handshake takes two ways, and the connection is there."""
        world = self.world
        target = next(machine for machine in self.machines.values() if machine.host == host)
        same = target is caller.machine
        route = None if same else self.routes[frozenset((caller.machine.number, target.number))]
        until = world.now + HANDSHAKE_S

        def fail(why: str) -> None:
            caller.post(lambda: then(None, b"", f"cannot connect to {host}:{PORT}: {why}"))

        def arrive() -> None:
            if world.now >= until:
                fail("no handshake in 5 s")
            elif route is not None and route.blocked_until > world.now:
                world.at(min(until, route.blocked_until + route.delay()), arrive)
            elif not target.node.alive:
                world.after(1e-4, 1e-3, lambda: fail("Connection refused"))
            elif target.node.frozen_until > world.now:
                world.at(min(until, target.node.frozen_until + 1e-4), arrive)
            else:
                connect()

        def connect() -> None:
            if not caller.alive:
                return
            with world.running(caller):
                mine, theirs = self.net.pair(False, route)
            theirs.give(target.node)
            explain(theirs.end if purpose == "data" else mine.end, purpose)
            serve = target.node.node.gate.services[purpose]  # type: ignore[union-attr]
            target.node.post(lambda: serve(purpose, payload, cast("Any", theirs), b"", caller.machine.host))
            delay = 1e-4 if route is None else route.delay()
            world.at(world.now + delay, lambda: caller.post(lambda: then(mine, b"", "")))

        world.at(world.now + (1e-4 if route is None else 2 * route.delay()), arrive)

    def reach_head(self) -> tuple[Any, bytes]:
        """A node's first connection to the head; it waits for it."""
        found: list[tuple[Any, str]] = []
        caller = self.world.current
        assert caller is not None
        with self.world.running(None):
            self.dial(caller, self.machines[1].host, "node", b"", lambda sock, rest, error: found.append((sock, error)))
            caller.booting = True
            self.world.run(self.world.now + 10.0, lambda: bool(caller.calls))
        caller.booting = False
        while caller.calls:
            caller.calls.popleft()()
        if not found or found[0][0] is None:
            raise ConnectionError(found[0][1] if found else "the head's machine does not answer")
        return found[0][0], b""
