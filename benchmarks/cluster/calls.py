"""Tasks and calls of actors on another node, beside TCP between the same two networks."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from ..framework import ray
from ..lines import MACHINE, Bench, at_least, line
from . import networks
from .nodes import Cluster, shared
from .yardsticks import TCP_ASYNC, TCP_SYNC

FAR = '{"far": 100}'
THERE: dict[str, Any] = {"resources": {"far": 0.01}}


class _TwoNodes(Cluster):
    """The second one in a network of its own, where that is possible."""

    def __init__(self) -> None:
        super().__init__()
        self._networks = ExitStack()
        near, far = self._networks.enter_context(networks.linked()) if networks.possible() else (None, None)
        self.add(1, network=near)
        self.add(2, network=far, resources=FAR)

    def close(self) -> None:
        super().close()
        self._networks.close()


def two_nodes(_: bool) -> Cluster:
    return _TwoNodes()


@ray.remote
def answer() -> bytes:
    return b"ok"


@ray.remote(num_cpus=0)
class Server:
    def answer(self) -> bytes:
        return b"ok"


@line("cluster: task on another node, one at a time", "cluster calls", goal=at_least(0.5, (MACHINE, TCP_SYNC)))
def task_sync(bench: Bench) -> list[float]:
    shared(two_nodes, bench.quick)
    there = answer.options(**THERE)
    return bench.rate(lambda: ray.get(there.remote()))


@line("cluster: 1,000 tasks in flight to another node", "cluster calls", goal=at_least(0.5, (MACHINE, TCP_ASYNC)))
def task_async(bench: Bench) -> list[float]:
    shared(two_nodes, bench.quick)
    there = answer.options(**THERE)
    return bench.rate(lambda: ray.get([there.remote() for _ in range(1000)]), 1000)


@line("cluster: actor call on another node, one at a time", "cluster calls", goal=at_least(0.5, (MACHINE, TCP_SYNC)))
def actor_sync(bench: Bench) -> list[float]:
    shared(two_nodes, bench.quick)
    server = Server.options(**THERE).remote()
    return bench.rate(lambda: ray.get(server.answer.remote()))


@line("cluster: 1,000 actor calls in flight to another node", "cluster calls", goal=at_least(0.5, (MACHINE, TCP_ASYNC)))
def actor_async(bench: Bench) -> list[float]:
    shared(two_nodes, bench.quick)
    server = Server.options(**THERE).remote()
    return bench.rate(lambda: ray.get([server.answer.remote() for _ in range(1000)]), 1000)
