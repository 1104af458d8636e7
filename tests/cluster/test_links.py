"""Connections of a client to workers of another node, to that node and to the head are cut while they are used: all results
are right."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

import pytest

import skate
from skate.client import current
from skate.client.pipe import FarPipe
from skate.testing import eventually

from .conftest import Nodes, on

ROUNDS = 5


@skate.remote(max_retries=-1)
def square(number: int) -> int:
    time.sleep(0.01)
    return number * number


@skate.remote(max_restarts=-1, max_task_retries=-1)
class Store:
    """Keeps objects whose home is its node."""

    def __init__(self) -> None:
        self.refs: dict[int, Any] = {}

    def keep(self, number: int, size: int) -> list[Any]:
        self.refs[number] = skate.put(bytes([number]) * size)
        return [self.refs[number]]

    def pid(self) -> int:
        return os.getpid()


def cut(kinds: tuple[str, ...]) -> int:
    """Cut connections of this process; how many there were."""
    runtime: Any = current.runtime
    with runtime.lock:
        found = []
        if "data" in kinds:
            workers = [*runtime.tasks.submitter.workers.values(), *runtime.actors.by_id.values()]
            found += [each.channel for each in workers if isinstance(each.channel, FarPipe)]
        if "client" in kinds:
            found += [link.channel for link in runtime.links.all()[1:] if link.channel is not None]
        for channel in found:
            channel.sock.shutdown(socket.SHUT_RDWR)
    return len(found)


@pytest.mark.parametrize("kinds", [("data",), ("client",)], ids="-".join)
def test_f12_connections_are_cut_while_they_are_used(nodes: Nodes, kinds: tuple[str, ...]) -> None:
    nodes.add(1)
    nodes.add(2, there=1)
    skate.init(address=nodes.address)
    store = Store.options(num_cpus=0, **on("there")).remote()
    pid = skate.get(store.pid.remote(), timeout=20)
    cuts = 0
    kept: list[Any] = []
    for number in range(ROUNDS):
        tasks = [square.options(**on("there")).remote(i) for i in range(20)]
        kept += skate.get(store.keep.remote(number, 100_000), timeout=20)
        small = store.keep.remote(100 + number, 10)
        time.sleep(0.02)
        cuts += cut(kinds)
        assert skate.get(tasks, timeout=20) == [i * i for i in range(20)]
        assert skate.get(skate.get(small, timeout=20)[0], timeout=20) == bytes([100 + number]) * 10
    assert cuts >= ROUNDS
    for number, ref in enumerate(kept):
        assert skate.get(ref, timeout=20) == bytes([number]) * 100_000
    assert skate.get(store.pid.remote(), timeout=20) == pid
    del kept, tasks, small, ref
    total = skate.cluster_resources()
    del store
    eventually(lambda: skate.available_resources() == total, 10, "everything is free again")
