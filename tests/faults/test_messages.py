"""Any message between a client, the head and a node may be lost with its connection, or come twice: nothing changes.

Each story is told once undisturbed, and then again for every message in it: with the connection cut just before it, cut
just after it, and cut for one end only; and once with every message coming twice. It must end in the same state, with
the same answers.

Every type of message is in a story, or is one of those that need none, with the reason: a new one is neither, and fails.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args
from unittest.mock import MagicMock

import pytest

from skate.wire import cluster as c, messages as m

from .wires import AFTER, BEFORE, SILENT, TWICE, Fault, Script, World


def a_named_actor(world: World) -> Iterator[bool]:
    actor = world.create(1, name="keeper")
    yield False
    world.request(lambda request: m.FindActor(request, "keeper", "space"))
    world.request(lambda request: m.Ask(request, "named_actors"))
    world.link.send(m.ConnectActor(actor))
    yield False
    world.link.send(m.KillActor(actor, True))
    yield False
    world.request(lambda request: m.FindActor(request, "keeper", "space"))
    yield False


def a_name_that_is_taken(world: World) -> Iterator[bool]:
    world.create(1, name="keeper")
    yield False
    del world.actors[world.create(2, name="keeper")]
    yield False


def an_actor_that_restarts(world: World) -> Iterator[bool]:
    actor = world.create(1, max_restarts=1)
    yield False
    world.kill_worker()
    yield False
    world.link.send(m.ConnectActor(actor))
    yield False
    world.kill_worker()
    yield False


def an_actor_that_has_no_room(world: World) -> Iterator[bool]:
    world.create(1, resources={"CPU": 4.0}, placement={"CPU": 4.0})
    yield False
    actor = world.create(2)
    yield False
    world.link.send(m.KillActor(actor, True))
    yield False


def an_actor_that_is_let_go(world: World) -> Iterator[bool]:
    actor = world.create(1)
    yield False
    world.link.send(m.Hold(actor, 1))
    world.link.send(m.Hold(actor, -1))
    yield True
    world.link.send(m.Hold(actor, -1))
    yield True


def workers_that_cannot_start(world: World) -> Iterator[bool]:
    world.zygote.forks = False
    world.create(1)
    yield False
    world.node.actors.cannot_start("job1", "workers cannot start")
    yield False


def a_driver_that_goes(world: World) -> Iterator[bool]:
    world.create(1)
    world.runtime.groups.create([{"CPU": 1.0}], "PACK", "", False, None)
    yield False
    world.client_ends()
    world.cluster.send_to_head(c.JobEnded("job1"))
    yield False


def a_group(world: World) -> Iterator[bool]:
    groups = world.runtime.groups
    group = groups.create([{"CPU": 1.0}, {"CPU": 1.0}], "PACK", "", False, None)
    yield False
    world.link.send(m.WatchGroup(bytes.fromhex(group)))
    yield False
    groups.remove(group)
    yield False


def a_node_that_leaves(world: World) -> Iterator[bool]:
    world.create(1)
    yield False
    world.reasons = False  # if its last word is lost, it is the end of its connection that counts
    world.cluster.leave()
    world.node.running = False
    yield False
    world.silence()
    yield False


def a_node_that_is_given_up(world: World) -> Iterator[bool]:
    world.create(1)
    yield False
    world.head.members.lost(world.cluster.info.no, "nothing was heard of it for 3 s")
    yield False


def jobs_that_run_and_are_deleted(world: World) -> Iterator[bool]:
    world.head.jobs.packages.put({"hash": "a" * 64, "number": 0, "data": b"files", "last": True})
    for name in ("stays", "goes"):
        world.head.jobs.submit([name, "true", "n", {"working_dir": f"package://{'a' * 64}"}])
    yield False
    world.head.jobs.stop("goes")
    yield False
    world.head.jobs.delete("goes")
    yield False


STORIES: list[Script] = [
    a_named_actor,
    a_name_that_is_taken,
    an_actor_that_restarts,
    an_actor_that_has_no_room,
    an_actor_that_is_let_go,
    workers_that_cannot_start,
    a_driver_that_goes,
    a_group,
    a_node_that_leaves,
    a_node_that_is_given_up,
    jobs_that_run_and_are_deleted,
]

SEEN: set[type] = set()

LOCAL: set[type] = {
    *(
        m.Blocked,
        m.ActorReady,
        m.Ready,
        m.CallerGone,
        m.Flushed,
        m.Dial,
        m.Pull,
        m.Hurry,
        m.Evicted,
        m.Offered,
        m.Told,
        m.Talks,
        m.Counted,
        m.Recorded,
        m.Farewell,
    ),
    *(m.WantMemory, m.ReturnMemory, m.Register, m.Prepare),
    *(
        m.Welcome,
        m.Refused,
        m.Memory,
        m.Freed,
        m.GiveBackMemory,
        m.Serve,
        m.BeActor,
        m.Cancel,
        m.LetGo,
        m.Stop,
        m.Begin,
    ),
    *(m.Elsewhere, m.Unschedulable, m.Dialed, m.Pulled, m.NodeDied, m.Evict, m.Offer, m.Question),
}
"""Between a process and the node that it lives on: a pair of sockets in one kernel, which ends only with one of them."""

BETWEEN_NODES: set[type] = {
    *(m.WantWorkers, m.ReturnWorker, m.Interrupt, m.HeldUp, m.Deliver, m.Fetch, m.Lost, m.Leaving),
    *(m.Leased, m.WorkerDied, m.GiveBack, m.CannotStart, m.Fetched, m.Output, m.Rebuild, m.Reached),
}
"""Between a client and another node than its own: `tests/cluster/test_links.py` cuts these connections while they are used."""

SHOWN: set[type] = {c.Load, c.WorkerLost}
"""For `skate status` only: nothing is decided by them."""


def tell(story: Script, folder: Path, fault: Fault) -> tuple[object, set[type]]:
    folder.mkdir()
    world = World(folder, fault)
    try:
        for grace in story(world):
            world.settle(grace)
        return world.state(), world.types | {kind for wire in world.wires.values() for kind in wire.types}
    finally:
        world.close()


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_f12_a_message_that_is_lost_or_comes_twice(story: Script, tmp_path: Path) -> None:
    fault = Fault()
    expected, seen = tell(story, tmp_path / "undisturbed", fault)
    SEEN.update(seen)
    messages = fault.seen
    assert len(messages) > 3
    wrong = []
    for kind in (BEFORE, AFTER, SILENT, TWICE):
        for at in range(len(messages)) if kind != TWICE else [-1]:
            fault = Fault(kind, at)
            found, _ = tell(story, tmp_path / f"{kind[-6:]}-{at}", fault)
            assert fault.done or at == len(messages) - 1
            if found != expected:
                message = type(messages[at]).__name__ if at >= 0 else "everything"
                wrong.append(f"{kind} {at} ({message}): {difference(expected, found)}")
    assert not wrong, "\n".join(wrong)


def difference(expected: object, found: object) -> dict[str, object]:
    assert isinstance(expected, dict) and isinstance(found, dict)
    return {key: (expected[key], found[key]) for key in expected if expected[key] != found[key]}


@pytest.mark.parametrize("hosts", [False, True])
def test_a_head_that_takes_its_time_to_let_a_node_in(tmp_path: Path, hosts: bool) -> None:
    world = World(tmp_path, Fault())
    try:
        cluster = world.cluster
        cluster.host = MagicMock() if hosts else None
        cluster._asked_at = cluster._confirmed_at = time.monotonic() - 5
        cluster._on_message(c.Joined(cluster.info.no))
        world.settle()
        assert world.node.running and (cluster.host is None or not cluster.host.kill.called)
    finally:
        world.close()


def test_f12_every_type_of_message_is_in_a_story(tmp_path: Path) -> None:
    for number, story in enumerate(STORIES if not SEEN else ()):  # this test is run alone
        SEEN.update(tell(story, tmp_path / str(number), Fault())[1])
    known = {kind for union in (m.ToNode, m.FromNode, c.NodeToHead, c.HeadToNode) for kind in get_args(union)}
    assert not (LOCAL | BETWEEN_NODES) & SEEN
    assert not known - SEEN - LOCAL - BETWEEN_NODES - SHOWN, "messages without a story"
