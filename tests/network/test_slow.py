"""A machine that is busy, but alive."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import skate
from skate.testing import eventually

from .conftest import Network, on

SECONDS = 6.0
"""Twice the time after which a silent node is dead."""
SPIN = f"import time; end = time.monotonic() + {SECONDS}\nwhile time.monotonic() < end: pass"


@skate.remote(num_cpus=0)
def hold_the_gil(seconds: float) -> int:
    """One call into C that lets no other thread of the process run."""
    text, size = "a" * 18, 18
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        re.match("(a+)+b", text[:size])
    return os.getpid()


def test_f13_slow_nodes_are_not_dead(net: Network) -> None:
    head, one = net.add(1, here=1), net.add(1, one=1)
    net.attach(head)
    nodes = [head.session.node_id, one.session.node_id]
    busy = [hold_the_gil.options(**on(name)).remote(SECONDS) for name in ("here", "one") for _ in range(2)]
    hogs = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(8)]
    done: list[float] = []
    began = time.monotonic()

    def all_over() -> bool:
        at = time.monotonic()
        assert skate.get(hold_the_gil.options(**on("one")).remote(0.0), timeout=20)
        done.append(time.monotonic() - at)
        return all(hog.poll() is not None for hog in hogs)

    eventually(all_over, 25, "the load is over")
    assert time.monotonic() - began > SECONDS / 2
    assert len(set(skate.get(busy, timeout=20))) == 4
    assert [(node["NodeID"], node["Alive"]) for node in skate.nodes()] == [(each, True) for each in nodes]
    print(f"{len(done)} tasks, the slowest took {max(done) * 1000:.0f} ms")
