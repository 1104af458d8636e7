"""The faults: what is done to the cluster, in an order that a seed decides, each checked to have happened.

A worker, a node or a driver may have all its connections cut, or one.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import psutil

from skate.client import sessions
from skate.testing import cut_connections

from .cluster import Driver, Nodes, until
from .judge import Fault, Kind

BLIP_S = 1.0
FREEZE_S = 5.0
DEAD_S = 8.0
"""When a frozen node must have joined as a new one after it was woken, and a head must be back."""


class Misfire(Exception):
    """There was nothing to hit, or what was hit did not do what it must."""


class Injector:
    """Does one thing after the other."""

    def __init__(
        self,
        nodes: Nodes,
        drivers: Callable[[], list[Driver]],
        restart: Callable[[Driver], None],
        note: Callable[[Fault], None],
        seed: int,
    ) -> None:
        self.nodes = nodes
        self._drivers = drivers
        self._restart = restart
        self._note = note
        self.rng = random.Random(f"{seed} faults")
        self._deck: list[Kind] = []

    def next(self) -> Fault:
        """Inject the next fault; each kind comes once before one comes again.

        Raises:
            Misfire: it had no effect, or not the one that it must have.
        """
        if not self._deck:
            self._deck = self.rng.sample(list(Kind), len(Kind))
        kind = self._deck.pop()
        return getattr(self, f"_{kind}")(kind)  # type: ignore[no-any-return]

    def _begin(self, kind: Kind, node: int = 0, pid: int = 0, what: str = "") -> Fault:
        """Note it before it is done, so that no error is seen before its cause."""
        fault = Fault(kind, time.monotonic(), node, pid, what)
        self._note(fault)
        return fault

    def _end(self, fault: Fault) -> Fault:
        fault.until = time.monotonic()
        return fault

    # ------------------------------------------------------------ workers

    def _worker(self) -> tuple[sessions.Session, psutil.Process]:
        busy = [(node, worker) for node in self.nodes.living for worker in self.nodes.workers(node)]
        if not busy:
            raise Misfire("there is no worker")
        return self.rng.choice(busy)

    def _kill_worker(self, kind: Kind) -> Fault:
        node, worker = self._worker()
        fault = self._begin(kind, node.node_no, worker.pid)
        _signal(worker.pid, signal.SIGKILL)
        if not until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, 5):
            raise Misfire(f"worker {worker.pid} lives")
        return self._end(fault)

    def _stop_worker(self, kind: Kind) -> Fault:
        node, worker = self._worker()
        fault = self._begin(kind, node.node_no, worker.pid)
        _signal(worker.pid, signal.SIGSTOP)
        time.sleep(self.rng.uniform(0.2, 2.0))
        _signal(worker.pid, signal.SIGCONT)
        return self._end(fault)

    # ------------------------------------------------------------ nodes

    def _kill_node(self, kind: Kind) -> Fault:
        node = self.rng.choice(self.nodes.members)
        fault = self._begin(kind, node.node_no, node.pid)
        os.kill(node.pid, signal.SIGKILL)
        self.nodes.gone(node)
        self.nodes.add()
        return self._end(fault)

    def _freeze_node(self, kind: Kind) -> Fault:
        """For long: the node alone, or with its workers, as when a machine sleeps."""
        node = self.rng.choice(self.nodes.members)
        alone = self.rng.random() < 0.5
        fault = self._begin(kind, node.node_no, node.pid, "alone" if alone else "with its workers")
        pids = [node.pid] + ([] if alone else [worker.pid for worker in self.nodes.workers(node)])
        for pid in pids:
            _signal(pid, signal.SIGSTOP)
        time.sleep(FREEZE_S)
        for pid in reversed(pids):
            _signal(pid, signal.SIGCONT)
        if not until(lambda: self.nodes.renewed(node), DEAD_S):
            raise Misfire(f"node {node.node_no} was frozen for {FREEZE_S:g} s, and is no new node now")
        return self._end(fault)

    def _blip(self, kind: Kind) -> Fault:
        node = self.rng.choice(self.nodes.living)
        fault = self._begin(kind, node.node_no, node.pid)
        _signal(node.pid, signal.SIGSTOP)
        time.sleep(BLIP_S)
        _signal(node.pid, signal.SIGCONT)
        time.sleep(BLIP_S)
        if not self.nodes.lives(node) or self.nodes.renewed(node):
            raise Misfire(f"node {node.node_no} has ended after {BLIP_S:g} s of silence")
        return self._end(fault)

    def _kill_head(self, kind: Kind) -> Fault:
        if not until(lambda: _pid_of_head(self.nodes), DEAD_S):
            raise Misfire("there is no head")
        pid = _pid_of_head(self.nodes)
        fault = self._begin(kind, self.nodes.head.node_no, pid)
        _signal(pid, signal.SIGKILL)
        if not until(lambda: _pid_of_head(self.nodes) not in (0, pid), DEAD_S):
            raise Misfire("the head was not started again")
        return self._end(fault)

    # ------------------------------------------------------------ connections

    def _cut(self, kind: Kind) -> Fault:
        """One connection, or all of one process."""
        processes = [*self.nodes.processes(), *(psutil.Process(driver.process.pid) for driver in self._drivers())]
        self.rng.shuffle(processes)
        fault = self._begin(kind)
        for process in processes:
            cut, of = cut_connections(process.pid, choose=self._some)
            if cut:
                fault.pid, fault.what = process.pid, f"{cut} of {of} connections"
                return self._end(fault)
        raise Misfire("there was no connection to cut")

    def _some(self, fds: list[int]) -> list[int]:
        return fds if self.rng.random() < 0.5 else [self.rng.choice(fds)]

    # ------------------------------------------------------------ drivers

    def _kill_driver(self, kind: Kind) -> Fault:
        driver = self.rng.choice(self._drivers())
        fault = self._begin(kind, driver.node.node_no, driver.process.pid)
        driver.kill()
        self._restart(driver)
        return self._end(fault)


def _pid_of_head(nodes: Nodes) -> int:
    process = nodes.head_process()
    return 0 if process is None else int(process.pid)


def _signal(pid: int, signo: int) -> None:
    try:
        os.kill(pid, signo)
    except ProcessLookupError:
        return  # it has ended by itself meanwhile
