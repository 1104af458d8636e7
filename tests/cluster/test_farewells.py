"""What the workers of a program know is told before they are ended with it, on whichever node they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from integration import scrape
from integration.scrape import value

import skate
from skate.client import sessions
from skate.testing import eventually
from skate.util import state
from skate.util.metrics import Counter

from .conftest import Nodes, on

PROGRAM = """
import os, sys, time
import skate
folder = sys.argv[2]
from skate.util.metrics import Counter
skate.init(address=sys.argv[1], namespace="killed")
there = {"resources": {"there": 0.01}, "num_cpus": 0}

def work(name):
    for _ in range(2):  # the first is told at once
        Counter("killed").inc()
    open(os.path.join(folder, name), "w").close()
    time.sleep(60)

@skate.remote(**there)
def far(name):
    work(name)

@skate.remote(**there)
def starts(name):
    skate.get(far.options(name="nested").remote(name))

@skate.remote(**there)
class Actor:
    def call(self, name):
        work(name)

near = far.options(name="near", resources={})
kept = Actor.options(name="kept", lifetime="detached").remote()
actor = Actor.remote()
refs = [far.remote("0"), starts.remote("1"), near.remote("2"), actor.call.remote("3"), kept.call.remote("4")]
while len(os.listdir(folder)) < 5:
    time.sleep(0.01)
os.kill(os.getpid(), 9)
"""


@skate.remote
def count(name: str) -> None:
    for _ in range(2):  # the first is told at once
        Counter(name).inc()


@skate.remote
class Counting:
    def count(self, name: str) -> None:
        Counter(name).inc()
        Counter(name).inc()


def at(node: sessions.Session) -> scrape.Read:
    return scrape.read(node.host, node.port)


def test_what_ran_when_its_program_was_killed_is_known(nodes: Nodes, tmp_path: Path) -> None:
    nodes.add(2)
    other = nodes.add(1, there=1)
    done = subprocess.run([sys.executable, "-c", PROGRAM, nodes.address, str(tmp_path)], timeout=60, check=False)
    assert done.returncode == -9
    skate.init(address=nodes.address)
    expected = ["Actor.call", "far", "near", "nested", "starts"]
    failed = [("state", "=", "FAILED")]
    eventually(lambda: sorted(row.name for row in state.list_tasks(filters=failed)) == expected, 10)
    found = {row.name: row for row in state.list_tasks(filters=failed, detail=True)}
    assert {row.error_message for row in found.values()} == {"its program ended before it had"}
    assert {row.node_no for name, row in found.items() if name != "near"} == {2} and found["near"].node_no == 1
    eventually(lambda: value(at(other), "ray_killed_total") == 8, 10, "two tasks and two actors, one of which lives on")
    skate.kill(skate.get_actor("kept", "killed"))


def test_nothing_that_was_counted_anywhere_ends_with_its_program(nodes: Nodes) -> None:
    nodes.add(1)
    other = nodes.add(2, there=1)
    for _ in range(2):
        skate.init(address=nodes.address)
        actor = Counting.options(**on("there")).remote()
        skate.get([count.options(**on("there")).remote("counted") for _ in range(9)])
        skate.get(actor.count.remote("counted"))
        skate.shutdown()
    eventually(lambda: value(at(other), "ray_counted_total") == 40, 10, "nothing is lost")
    skate.init(address=nodes.address)
    assert not state.list_tasks(filters=[("state", "=", "FAILED")])
