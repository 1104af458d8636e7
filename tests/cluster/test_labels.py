"""Labels of nodes decide where tasks and actors run, also when nodes come and go."""

from __future__ import annotations

from typing import Any

import pytest

import skate
from skate.client import asking, sessions
from skate.client.init_options import InitOptions
from skate.exceptions import GetTimeoutError
from skate.testing import eventually
from skate.util.placement_group import placement_group, remove_placement_group
from skate.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)

from .conftest import HOST, STORE_BYTES, Nodes


@skate.remote
def here() -> str | None:
    return skate.get_runtime_context().get_node_labels().get("zone")


@skate.remote
class Resident:
    def zone(self) -> str | None:
        return skate.get_runtime_context().get_node_labels().get("zone")


def add(nodes: Nodes, cpus: int = 1, **labels: str) -> sessions.Session:
    head = nodes.started[0] if nodes.started else None
    wish = sessions.Wish(True, HOST) if head is None else sessions.Wish(False, HOST, 0, head.host, head.port)
    wish.labels = labels
    nodes.started.append(sessions.start_node(InitOptions(num_cpus=cpus, object_store_memory=STORE_BYTES), wish))
    return nodes.started[-1]


def hard(**wanted: Any) -> dict[str, Any]:
    return {"scheduling_strategy": NodeLabelSchedulingStrategy(wanted)}


def test_where_tasks_and_actors_go(nodes: Nodes) -> None:
    head = add(nodes)
    add(nodes, zone="a", disk="ssd")
    add(nodes, zone="b")
    skate.init(address=nodes.address)
    cases: list[tuple[dict[str, Any], str | None]] = [
        ({"label_selector": {"zone": "b"}}, "b"),
        ({"label_selector": {"zone": "in(x, a)"}}, "a"),
        ({"label_selector": {"zone": "!in(a,b)"}}, None),
        ({"label_selector": {"zone": "!b", "disk": "ssd"}}, "a"),
        ({"label_selector": {"ray.io/node-id": head.node_id}}, None),
        ({"label_selector": {"zone": "x"}, "fallback_strategy": [{"label_selector": {"zone": "b"}}]}, "b"),
        ({"label_selector": {"zone": "a"}, "fallback_strategy": [{"label_selector": {"zone": "b"}}]}, "a"),
        (hard(disk=Exists()), "a"),
        (hard(zone=Exists(), disk=DoesNotExist()), "b"),
        (hard(zone=NotIn("a", "b")), None),
        (hard(zone=In("b", "c")), "b"),
        ({"scheduling_strategy": NodeLabelSchedulingStrategy({"zone": Exists()}, {"disk": In("ssd")})}, "a"),
        ({"scheduling_strategy": NodeLabelSchedulingStrategy({"zone": In("b")}, {"disk": In("ssd")})}, "b"),
    ]
    for options, zone in cases:
        assert skate.get([here.options(**options).remote() for _ in range(3)], timeout=20) == [zone] * 3, options
        actor = Resident.options(num_cpus=1, **options).remote()
        assert skate.get(actor.zone.remote(), timeout=20) == zone, options
        del actor
    eventually(lambda: skate.available_resources().get("CPU") == 3, 10, "everything is free again")


def test_what_no_node_can_meet_waits_and_says_why(nodes: Nodes) -> None:
    add(nodes, zone="a")
    skate.init(address=nodes.address)
    task = here.options(label_selector={"zone": "c"}).remote()
    actor = Resident.options(label_selector={"zone": "in(c,d)"}).remote()
    with pytest.raises(GetTimeoutError, match=r"zone in .c."):
        skate.get(task, timeout=0.3)
    call = actor.zone.remote()
    status = lambda: str(asking.ask(nodes.started[0], "cluster_status")["demand"])  # noqa: E731
    eventually(lambda: status().count("no node has these labels") == 2, 5, "the status says why")
    assert skate.get(here.remote(), timeout=10) == "a", "others do not wait behind it"
    add(nodes, zone="c")
    assert skate.get([task, call], timeout=20) == ["c", "c"]


def test_a_better_alternative_is_taken_when_its_node_joins(nodes: Nodes) -> None:
    add(nodes)
    last = add(nodes, zone="b")
    skate.init(address=nodes.address)
    options = {"label_selector": {"zone": "a"}, "fallback_strategy": [{"label_selector": {"zone": "b"}}]}
    assert skate.get(here.options(**options).remote(), timeout=20) == "b"
    nodes.kill(last)
    eventually(lambda: sum(node["Alive"] for node in skate.nodes()) == 1, 10)
    waits = here.options(**options).remote()
    assert skate.wait([waits], timeout=0.3)[0] == []
    add(nodes, zone="a")
    assert skate.get(waits, timeout=20) == "a"


def test_nodes_tell_their_labels(nodes: Nodes) -> None:
    node = add(nodes, zone="a")
    skate.init(address=nodes.address)
    labels = skate.nodes()[0]["Labels"]
    assert labels == {"zone": "a", "ray.io/node-id": node.node_id, "skate.io/node-id": node.node_id}
    assert skate.get_runtime_context().get_node_labels() == labels


def test_bundles_and_labels(nodes: Nodes) -> None:
    add(nodes, 2)
    add(nodes, 2, zone="a")
    add(nodes, 2, zone="b")
    skate.init(address=nodes.address)
    group = placement_group([{"CPU": 1}, {"CPU": 1}], bundle_label_selector=[{"zone": "b"}, {"zone": "in(a,x)"}])
    assert group.wait(10)
    assert skate.get([here.options(**inside(group, at)).remote() for at in range(2)], timeout=20) == ["b", "a"]
    either = here.options(**inside(group, -1), label_selector={"zone": "a"})
    assert skate.get([either.remote() for _ in range(4)], timeout=20) == ["a"] * 4, "any bundle on such a node"
    actor = Resident.options(**inside(group, -1), label_selector={"zone": "!a"}).remote()
    assert skate.get(actor.zone.remote(), timeout=20) == "b"
    for wrong in ({"zone": "in(a"}, {"x y": "a"}):
        with pytest.raises(ValueError, match="label"):
            placement_group([{"CPU": 1}], bundle_label_selector=[wrong])
    remove_placement_group(group)
    eventually(lambda: skate.available_resources().get("CPU") == 6, 10, "everything is free again")


def inside(group: Any, index: int) -> dict[str, Any]:
    return {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, index)}
