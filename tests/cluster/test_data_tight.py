"""A node is killed, and another joins, in the middle of a sort for which memory is tight: the result is the same."""

from __future__ import annotations

import numpy as np
import pytest

import skate
import skate.data
from skate.client import asking
from skate.data.execution.remote import RemoteRunner
from skate.data.run import execute, table
from skate.testing import eventually

from .conftest import Nodes

ROWS = 800_000
STORE = 64 << 20
"""The rows take 83 MB, and what is made of them twice as much again; 134 MB are left when one node is gone."""


def widen(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    ids = batch["id"]
    return {"key": ids * 2654435761 % 1_000_003, "id": ids, "pad": np.repeat(ids[:, None], 11, axis=1)}


@pytest.mark.parametrize("joins", [False, True])
def test_a_node_dies_while_memory_is_tight(nodes: Nodes, joins: bool) -> None:
    for _ in range(3):
        nodes.add_node(1, object_store_memory=STORE)
    skate.init(address=nodes.address)
    dataset = skate.data.range(ROWS, override_num_blocks=12).map_batches(widen).sort("key")
    execution = execute(dataset._node, dataset._context)
    runner = execution.runner
    assert isinstance(runner, RemoteRunner)
    budget, slots = execution.budget_bytes, runner.slots
    found: list[np.ndarray] = []
    last = -1
    for number, bundle in enumerate(execution):
        if not number:
            nodes.kill_node(nodes.started[1])
            if joins:
                nodes.add_node(1, object_store_memory=STORE)
            eventually(lambda: _living() == len(nodes.started) - 1, 10, "the cluster has heard of it")
            runner._look_at = 0.0  # now: what is left may be done before it would look again
        block = table(bundle)
        keys = block.column("key").to_numpy().copy()
        assert (np.diff(keys) >= 0).all() and keys[0] >= last
        last = keys[-1]
        found.append(block.column("id").to_numpy().copy())
        del block, bundle
    living = [node for number, node in enumerate(nodes.started) if number != 1]
    assert any(asking.ask(node, "store")["spilled_bytes"] for node in living), "memory was tight"
    assert np.array_equal(np.sort(np.concatenate(found)), np.arange(ROWS))
    if not joins:
        assert runner.slots == slots - 1 and execution.budget_bytes * 3 // 2 <= budget + 2


def _living() -> int:
    return sum(node["Alive"] for node in skate.nodes())
