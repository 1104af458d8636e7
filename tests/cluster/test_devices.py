"""GPUs by number, kinds of GPUs, and memory, on nodes of a cluster. No test needs a real GPU."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

import skate
from skate.client import sessions
from skate.client.init_options import InitOptions
from skate.testing import eventually

from .conftest import HOST, STORE_BYTES, Nodes

MEMORY = 1 << 30


def add(nodes: Nodes, gpus: int, cpus: int = 4, **resources: float) -> sessions.Session:
    head = nodes.started[0] if nodes.started else None
    wish = sessions.Wish(True, HOST) if head is None else sessions.Wish(False, HOST, 0, head.host, head.port)
    options = InitOptions(
        num_cpus=cpus, num_gpus=gpus, memory=MEMORY, resources=resources, object_store_memory=STORE_BYTES
    )
    nodes.started.append(sessions.start_node(options, wish))
    return nodes.started[-1]


@pytest.fixture
def gpus(nodes: Nodes) -> Iterator[Nodes]:
    """This program's node has no GPU; two others have two each, one of them of a certain kind."""
    add(nodes, 0)
    add(nodes, 2)
    add(nodes, 2, **{"accelerator_type:A100": 1})
    skate.init(address=nodes.address)
    yield nodes
    total = {name: amount for name, amount in skate.cluster_resources().items() if amount}
    eventually(lambda: skate.available_resources() == total, 10, "all resources are free")


def seen() -> tuple[str, str, list[Any]]:
    return skate.get_runtime_context().get_node_id(), os.environ.get("CUDA_VISIBLE_DEVICES", ""), skate.get_gpu_ids()


@skate.remote
class Gate:
    """Opens when enough are there."""

    def __init__(self) -> None:
        self.here = 0

    def come(self) -> None:
        self.here += 1

    def count(self) -> int:
        return self.here


@skate.remote
def together(gate: Any, count: int) -> tuple[str, str, list[Any]]:
    skate.get(gate.come.remote())
    eventually(lambda: skate.get(gate.count.remote()) >= count, 20)
    return seen()


@skate.remote
class Device:
    def seen(self) -> tuple[str, str, list[Any]]:
        return seen()


def test_whole_gpus_of_two_nodes(gpus: Nodes) -> None:
    gate = Gate.options(num_cpus=0).remote()
    found = skate.get([together.options(num_gpus=1).remote(gate, 4) for _ in range(4)], timeout=40)
    wanted = {(node.node_id, number) for node in gpus.started[1:] for number in ("0", "1")}
    assert {(node, text) for node, text, _ in found} == wanted, "each device of each node was given once"
    assert all(ids == [int(text)] for _, text, ids in found)
    both = skate.get(together.options(num_gpus=2).remote(gate, 1), timeout=20)
    assert sorted(both[1].split(",")) == ["0", "1"] and sorted(both[2]) == [0, 1]


def test_parts_share_a_gpu_of_another_node(gpus: Nodes) -> None:
    gate = Gate.options(num_cpus=0).remote()
    half = together.options(num_gpus=0.5, num_cpus=0.5)
    found = skate.get([half.remote(gate, 8) for _ in range(8)], timeout=40)
    places = [(node, text) for node, text, _ in found]
    assert len(set(places)) == 4 and all(places.count(place) == 2 for place in places)


def test_actors_keep_their_gpus(gpus: Nodes) -> None:
    actors = [Device.options(num_gpus=1).remote() for _ in range(4)]
    found = skate.get([actor.seen.remote() for actor in actors], timeout=40)
    assert len({(node, text) for node, text, _ in found}) == 4
    assert skate.get([actor.seen.remote() for actor in actors], timeout=20) == found
    fifth = Device.options(num_gpus=1).remote()
    call = fifth.seen.remote()
    assert skate.wait([call], timeout=0.3)[0] == [], "all devices are taken"
    skate.kill(actors[2])
    assert skate.get(call, timeout=20)[:2] == found[2][:2], "the device that was freed"
    for actor in (*actors, fifth):
        skate.kill(actor)


def test_a_kind_of_gpu(gpus: Nodes) -> None:
    task = together.options(num_gpus=1, accelerator_type="A100")
    gate = Gate.options(num_cpus=0).remote()
    found = skate.get([task.remote(gate, 2) for _ in range(2)], timeout=40)
    assert {node for node, _, _ in found} == {gpus.started[2].node_id}


def test_without_gpus_none_is_seen(gpus: Nodes) -> None:
    gate = Gate.options(num_cpus=0).remote()
    assert skate.get(together.remote(gate, 1), timeout=20)[2] == []


@skate.remote
def span(seconds: float) -> tuple[str, float, float]:
    began = time.time()
    time.sleep(seconds)
    return skate.get_runtime_context().get_node_id(), began, time.time()


def test_memory_is_never_promised_twice(gpus: Nodes) -> None:
    task = span.options(memory=MEMORY * 0.6, num_cpus=0.1)
    found = skate.get([task.remote(0.2) for _ in range(9)], timeout=60)
    assert len({node for node, _, _ in found}) == 3, "every node has room for one"
    for node, began, ended in found:
        others = [each for each in found if each != (node, began, ended) and each[0] == node]
        assert all(end <= began or start >= ended for _, start, end in others), "two at once on one node"
