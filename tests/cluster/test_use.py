"""One program keeps all CPUs of several nodes busy, and two share them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import skate

from .conftest import Nodes

TASK_S = 0.01
CPUS = 60

SHARER = """
import sys, time
import skate
skate.init(address=sys.argv[1])

@skate.remote
def work():
    time.sleep(0.02)

skate.get([work.remote() for _ in range(8)], timeout=30)
print("ready", flush=True)
sys.stdin.readline()
waiting = {work.remote() for _ in range(64)}
count = 0
ends = time.monotonic() + float(sys.argv[2])
while time.monotonic() < ends:
    done, _ = skate.wait(list(waiting), num_returns=1)
    for ref in done:
        waiting.remove(ref)
        waiting.add(work.remote())
        count += 1
print(count, flush=True)
for ref in waiting:
    skate.cancel(ref)
skate.shutdown()
"""


@skate.remote
def nap() -> float:
    began = time.perf_counter()
    time.sleep(TASK_S)
    return time.perf_counter() - began


def use(tasks: int) -> float:
    """The share of all CPUs that was in use, while so many tasks ran."""
    began = time.perf_counter()
    spent = sum(skate.get([nap.remote() for _ in range(tasks)], timeout=60))
    return spent / (time.perf_counter() - began) / CPUS


def test_one_program_keeps_sixty_cpus_on_three_nodes_busy(nodes: Nodes) -> None:
    for _ in range(3):
        nodes.add(CPUS // 3)
    skate.init(address=nodes.address)
    use(2_000)  # all workers are up
    best = max(use(6_000) for _ in range(4))
    print(f"use of {CPUS} CPUs: {best:.0%}")
    assert best >= 0.5, f"{best:.0%}: far below what a quiet machine shows"


@pytest.mark.parametrize("at", [(0,), (0, 1)], ids=["one node", "a node each"])
def test_two_programs_get_half_each(nodes: Nodes, tmp_path: Path, at: tuple[int, ...]) -> None:
    """Also when the second comes while the first has all."""
    for _ in at:
        nodes.add(4)
    script = tmp_path / "sharer.py"
    script.write_text(SHARER)
    sharers = [
        subprocess.Popen(
            [sys.executable, str(script), nodes.started[number].address, "4"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in (at[0], at[-1])
    ]
    try:
        for sharer in sharers:
            assert sharer.stdout is not None and sharer.stdout.readline() == "ready\n"
        for sharer in sharers:
            assert sharer.stdin is not None
            print(file=sharer.stdin, flush=True)
        counts = [int(sharer.communicate(timeout=40)[0]) for sharer in sharers]
    finally:
        for sharer in sharers:
            sharer.kill()
            sharer.wait()
    print(f"tasks of each: {counts}")
    assert min(counts) >= 0.35 * sum(counts), f"they did {counts} tasks"
