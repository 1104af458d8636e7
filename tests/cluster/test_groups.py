"""Placement groups over several nodes, and what becomes of them when nodes and the head are lost."""

from __future__ import annotations

from typing import Any

import pytest

import skate
from skate.testing import eventually
from skate.util.placement_group import placement_group, placement_group_table, remove_placement_group
from skate.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from .conftest import Nodes
from .test_head import kill_head


@skate.remote
def where() -> str:
    return skate.get_runtime_context().get_node_id()


@skate.remote(max_restarts=-1, max_task_retries=-1)
class Keeper:
    def where(self) -> str:
        return skate.get_runtime_context().get_node_id()


def inside(group: Any, index: int) -> dict[str, Any]:
    return {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, index)}


def places(group: Any) -> list[str]:
    return list(placement_group_table(group)["bundles_to_node_id"].values())


def test_strategies(nodes: Nodes) -> None:
    for _ in range(3):
        nodes.add(2)
    skate.init(address=nodes.address)
    total = skate.available_resources()
    spread = placement_group([{"CPU": 1}] * 3, strategy="STRICT_SPREAD")
    assert spread.wait(10) and len(set(places(spread))) == 3
    found = skate.get([where.options(**inside(spread, at)).remote() for at in range(3)], timeout=20)
    assert found == places(spread)
    pack = placement_group([{"CPU": 0.5}, {"CPU": 0.5}], strategy="PACK")
    assert pack.wait(10) and len(set(places(pack))) == 1
    too_large = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_PACK")
    assert not too_large.wait(0.3)
    too_many = placement_group([{"CPU": 0.1}] * 4, strategy="STRICT_SPREAD")
    assert not too_many.wait(0.1)
    assert "no nodes of the cluster could ever" in placement_group_table(too_many)["stats"]["scheduling_state"]
    remove_placement_group(spread)
    assert too_large.wait(10) and len(set(places(too_large))) == 1
    for group in (pack, too_large, too_many):
        remove_placement_group(group)
    eventually(lambda: skate.available_resources() == total, 10, "everything is free again")


def test_bundles_of_a_lost_node_are_placed_again(nodes: Nodes) -> None:
    nodes.add(1)
    lost = nodes.add(2, there=1)
    skate.init(address=nodes.address)
    group = placement_group([{"CPU": 1}, {"there": 1, "CPU": 1}])
    assert group.wait(10) and places(group)[1] == lost.node_id
    keeper = Keeper.options(num_cpus=1, **inside(group, 1)).remote()
    assert skate.get(keeper.where.remote(), timeout=20) == lost.node_id
    nodes.kill(lost)
    eventually(lambda: placement_group_table(group)["state"] == "RESCHEDULING", 5)
    call = keeper.where.remote()
    task = where.options(**inside(group, 1)).remote()
    assert skate.wait([call, task], timeout=0.3)[0] == []
    new = nodes.add(2, there=1)
    assert skate.get(call, timeout=20) == new.node_id
    del keeper
    assert skate.get(task, timeout=20) == new.node_id
    assert placement_group_table(group)["state"] == "CREATED" and places(group)[1] == new.node_id


def test_f6_groups_survive_the_head(nodes: Nodes) -> None:
    head = nodes.add(2)
    nodes.add(2, there=1)
    skate.init(address=nodes.address)
    total = skate.available_resources()
    kept = placement_group([{"CPU": 1}, {"there": 1}], name="kept")
    assert kept.wait(10)
    pending = placement_group([{"CPU": 2}, {"CPU": 2}], strategy="STRICT_SPREAD")
    for _ in range(3):
        made = placement_group([{"CPU": 0.1}])
        kill_head(head)
        assert made.wait(10)
        assert skate.get(where.options(num_cpus=0, **inside(kept, 1)).remote(), timeout=20) == places(kept)[1]
        remove_placement_group(made)
        kill_head(head)
        eventually(lambda made=made: made.id not in placement_group_table(), 10)  # type: ignore[misc]
    assert skate.util.get_placement_group("kept") == kept
    assert not pending.wait(0.1)
    remove_placement_group(kept)
    assert pending.wait(10)
    remove_placement_group(pending)
    eventually(lambda: skate.available_resources() == total, 10, "everything is free again")


def test_groups_end_with_their_driver_unless_detached(nodes: Nodes) -> None:
    nodes.add(4)
    skate.init(address=nodes.address, namespace="a")
    assert placement_group([{"CPU": 1}]).wait(10)
    assert placement_group([{"CPU": 1}], name="stays", lifetime="detached").wait(10)
    skate.shutdown()
    skate.init(address=nodes.address, namespace="a")
    eventually(lambda: [row["name"] for row in placement_group_table().values()] == ["stays"], 10)
    found = skate.util.get_placement_group("stays")
    assert skate.get(where.options(**inside(found, 0)).remote(), timeout=20)
    remove_placement_group(found)
    eventually(lambda: skate.available_resources().get("CPU") == 4, 10)


@pytest.mark.parametrize("strategy", ["SPREAD", "PACK"])
def test_many_groups_come_and_go(nodes: Nodes, strategy: str) -> None:
    nodes.add(2)
    nodes.add(2)
    skate.init(address=nodes.address)
    for _ in range(100):
        group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy=strategy)
        assert group.wait(10)
        remove_placement_group(group)
    eventually(lambda: skate.available_resources().get("CPU") == 4, 10)
