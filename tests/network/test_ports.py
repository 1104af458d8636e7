"""One port per machine is all that the others need."""

from __future__ import annotations

import subprocess

import skate
from skate.testing import eventually

from .conftest import PORT, Machine, Network, on

PROGRAM = """
import sys, time, skate
skate.init(address=sys.argv[1])

@skate.remote
def add(x, y): return x + y

@skate.remote
def large(n): return bytes(n)

@skate.remote
class Counter:
    def __init__(self): self.count = 0
    def add(self): self.count += 1; return self.count
    def size(self, data): return len(data)

def outcome(ref):
    began = time.monotonic()
    try:
        return skate.get(ref, timeout=25)
    except Exception as error:
        print(str(error)[-300:], file=sys.stderr)
        return type(error).__name__

there = {"resources": {"one": 0.01}}
counter = Counter.options(**there).remote()
print(skate.get([add.options(**there).remote(i, 1) for i in range(3)], timeout=20))
print(skate.get([counter.add.remote() for _ in range(3)], timeout=20))
print(len(skate.get(large.options(**there).remote(1_000_000), timeout=20)))
print(outcome(counter.size.remote(skate.put(bytes(1_000_000)))))
print(sorted(node["Resources"].get("CPU", 0) for node in skate.nodes()))
"""


@skate.remote
def double(data: bytes) -> bytes:
    return data * 2


def listeners(machine: Machine) -> list[int]:
    """The TCP ports that somebody listens on."""
    words = ["ss", "-N", machine.name, "-Hltn"]
    lines = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
    return [int(line.split()[3].rpartition(":")[2]) for line in lines]


def run(machine: Machine, address: str) -> list[str]:
    done = machine.program(PROGRAM, address)
    out, errors = done.communicate(timeout=60)
    print(errors)
    assert done.returncode == 0, errors
    return out.splitlines()


def test_one_port_is_enough_and_only_it_is_open(net: Network) -> None:
    head, one = net.add(1), net.add(1, one=1)
    for machine in (head, one):
        net.guard(machine)
    net.attach(head)
    there = double.options(**on("one"))
    assert len(skate.get(there.remote(skate.put(bytes(1_000_000))), timeout=20)) == 2_000_000
    assert listeners(head) == listeners(one) == [PORT]
    away = net.machine()
    assert run(away, head.session.address) == ["[1, 2, 3]", "[1, 2, 3]", "1000000", "1000000", "[0, 1.0, 1.0]"]
    eventually(
        lambda: [node["Alive"] for node in skate.nodes()].count(False) == 1, 10, "the driver's node ends with it"
    )
    assert listeners(away) == []


def test_a_driver_that_nobody_can_dial(net: Network) -> None:
    """What it calls works, and what it is answered; what others would have to fetch from its machine is an error."""
    head, one = net.add(1), net.add(1, one=1)
    away = net.machine()
    net.guard(away, serves=False)
    net.attach(head)
    assert run(away, head.session.address) == ["[1, 2, 3]", "[1, 2, 3]", "1000000", "ObjectLostError", "[0, 1.0, 1.0]"]
    assert one.node is not None
