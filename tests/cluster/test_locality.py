"""Tasks run where their large arguments are, unless something speaks against it."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skate
from skate.client import locality
from skate.testing import eventually
from skate.util.placement_group import placement_group, remove_placement_group
from skate.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from .conftest import Nodes, on

LARGE = 8 << 20
SMALL = locality.LOCAL_BYTES // 2


@skate.remote
def make(size: int) -> Any:
    return np.ones(size, dtype=np.uint8)


@skate.remote
def where(*arrays: Any, seconds: float = 0.0) -> str:
    time.sleep(seconds)
    assert all(int(array[-1]) == 1 for array in arrays)
    return skate.get_runtime_context().get_node_id()


@skate.remote
def ignores(_: Any) -> str:
    return skate.get_runtime_context().get_node_id()


@skate.remote
def linger(marks: str) -> None:
    open(os.path.join(marks, str(os.getpid())), "w").close()
    time.sleep(60)


@pytest.fixture
def two(nodes: Nodes) -> Nodes:
    """This program's node has 2 CPUs, and so has the other, "there"."""
    nodes.add(2, here=1)
    nodes.add(2, there=1)
    skate.init(address=nodes.address)
    return nodes


def made(size: int, resource: str = "there") -> Any:
    ref = make.options(**on(resource)).remote(size)
    skate.wait([ref], timeout=20, fetch_local=False)
    return ref


def all_free() -> bool:
    return skate.available_resources() == {name: x for name, x in skate.cluster_resources().items() if x}


def fill(node: Any, marks: Path) -> list[Any]:
    """Keep both CPUs of a node busy."""
    strategy = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    refs = [linger.options(scheduling_strategy=strategy).remote(str(marks)) for _ in range(2)]
    eventually(lambda: len(os.listdir(marks)) == 2, 10)
    eventually(lambda: skate.available_resources().get("CPU") == 2, 5)
    return refs


def test_large_arguments_draw_tasks_and_small_ones_do_not(two: Nodes) -> None:
    here, there = (node.node_id for node in two.started)
    large, small, own = made(LARGE), made(SMALL), skate.put(np.ones(LARGE, dtype=np.uint8))
    for _ in range(3):
        assert skate.get(where.remote(large), timeout=20) == there
    assert skate.get(where.remote(small), timeout=20) == here
    assert skate.get(where.remote(own), timeout=20) == here
    assert skate.get(where.remote(made(2 * SMALL - 99), made(SMALL)), timeout=20) == there, "together they are large"
    assert skate.get(where.remote(large, own), timeout=20) == here, "as much is here"
    assert skate.get(where.remote(large, np.ones(LARGE, dtype=np.uint8)), timeout=20) == here, "as much is sent along"
    assert skate.get(ignores.remote([large]), timeout=20) == here, "what is inside may never be read"
    assert skate.get(where.remote(large), timeout=20) == there
    skate.get(large, timeout=20)
    assert skate.get(where.remote(large), timeout=20) == here, "there is a copy here"


def test_what_says_where_it_runs_is_not_drawn(two: Nodes) -> None:
    here = two.started[0].node_id
    large = made(LARGE)
    group = placement_group([{"CPU": 1, "here": 0.1}])
    assert group.wait(10)
    strategies: list[dict[str, Any]] = [
        {"scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False)},
        {"scheduling_strategy": PlacementGroupSchedulingStrategy(group)},
        {"label_selector": {"ray.io/node-id": here}},
        {"resources": {"here": 0.1}},
    ]
    for options in strategies:
        assert skate.get(where.options(**options).remote(large), timeout=20) == here, options
    remove_placement_group(group)
    eventually(all_free, 10)
    spread = where.options(scheduling_strategy="SPREAD")
    assert len(set(skate.get([spread.remote(large, seconds=0.3) for _ in range(4)], timeout=20))) == 2


def test_when_there_is_no_room_they_run_elsewhere(two: Nodes, tmp_path: Path) -> None:
    here, there = (node.node_id for node in two.started)
    large = made(LARGE)
    busy = fill(two.started[1], tmp_path)
    began = time.monotonic()
    assert set(skate.get([where.remote(large) for _ in range(4)], timeout=20)) == {here}
    assert time.monotonic() - began < 2
    for ref in busy:
        skate.cancel(ref, force=True)
    eventually(all_free, 10)
    assert skate.get(where.remote(large), timeout=20) == there, "and there again when there is"


def test_all_nodes_help_with_what_is_too_much_for_one(two: Nodes) -> None:
    larges = [made(LARGE) for _ in range(2)]
    eventually(all_free, 10)
    ran = Counter(skate.get([where.remote(larges[i % 2], seconds=0.2) for i in range(16)], timeout=30))
    assert len(ran) == 2 and min(ran.values()) >= 4, ran


def test_a_task_that_waits_for_a_node_says_so_and_survives_it(
    two: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locality, "BYTES_PER_S", 1.0)
    monkeypatch.setattr(locality, "PATIENCE_MAX_S", 60.0)
    here = two.started[0].node_id
    large = make.remote(LARGE)
    skate.wait([large])
    far = made(LARGE)
    busy = fill(two.started[1], tmp_path)
    waits = where.remote(far)
    eventually(lambda: "it waits for node 2, which has its arguments" in skate.why(waits), 5)
    assert skate.get(where.remote(large), timeout=10) == here, "others do not wait behind it"
    two.kill(two.started[1])
    two.add(1, there=1)  # where the argument is made again
    assert skate.get(waits, timeout=20) in {node.node_id for node in two.started}
    del busy
