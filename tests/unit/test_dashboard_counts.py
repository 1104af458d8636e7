"""What the overview of the dashboard adds up."""

from __future__ import annotations

from typing import Any

from skate.dashboard.source import _counts

MACHINE = {"cpu_busy_s": 3.0, "cpu_s": 10.0, "cpu_count": 4, "memory_used": 5, "memory_total": 24}
NODE = {"store_used": 1, "store_total": 7, "spilled": 0, "objects": 2, "workers": 3, "actors": 1}


def node(cpus: float, free: float) -> dict[str, Any]:
    return {**MACHINE, **NODE, "total": {"CPU": cpus}, "free": {"CPU": free}}


def test_a_machine_counts_once_and_each_of_its_nodes() -> None:
    found = _counts({1: node(4, 1), 2: node(2, 2), 3: node(1, 0)}, {1: "10.0.0.1", 2: "10.0.0.1", 3: "10.0.0.2"})
    assert (found["memory_total"], found["cpu_count"]) == (48, 8)
    assert (found["store_total"], found["workers"], found["cpus_total"], found["cpus_used"]) == (21, 9, 7, 4)
