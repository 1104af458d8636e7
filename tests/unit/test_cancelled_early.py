"""A task is cancelled in the moment before it begins: its worker has got the signal, and not read the message."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from skate.store import arena
from skate.wire import messages as m
from skate.wire.channel import Channel, pair
from skate.worker import interrupts, rehearsal
from skate.worker.start import build

CALLER = b"caller!!"
RAN: list[int] = []
NOW: dict[str, Any] = {}


def task(number: int) -> None:
    """The first one is where a worker is between two tasks: it has read both, and runs none."""
    RAN.append(number)
    if number == 1:
        worker = NOW["worker"]
        running, worker.running = worker.running, None
        NOW["node"].send(m.encode(m.Cancel(CALLER, 2, False)))
        worker.on_interrupt(signal.SIGINT, None)
        worker.running = running


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Channel]]:
    """A worker in this process, and the end of its caller."""
    monkeypatch.setattr(interrupts, "again", lambda *_: None)  # the signal would be for the tests
    fd = arena.create(1 << 20)
    (node_sock, own_sock), (caller_sock, served_sock) = pair(), pair()
    node, caller = Channel(node_sock), Channel(caller_sock)
    worker = build(Channel(own_sock), rehearsal._begin(fd), os.dup(fd))
    NOW.update(worker=worker, node=node)
    node.send_fds(m.encode(m.Serve(CALLER)), [served_sock.fileno()])
    yield worker, caller
    worker.close()  # first: a worker does not outlive its node
    for end in (node, caller):
        end.close()
    served_sock.close()
    os.close(fd)
    NOW.clear()
    RAN.clear()


def test_a_task_that_is_cancelled_before_it_begins_does_not_run(ends: tuple[Any, Channel]) -> None:
    worker, caller = ends
    kinds: list[Any] = []
    flush = worker.flush
    worker.flush = lambda to: (kinds.extend(reply.kind for reply in to.replies), flush(to))
    code = m.Value(m.INLINE, pickle.dumps(task))
    definitions = [m.Definition(1, b"task", code, "task", 1)]
    tasks = [m.Task(seq, 1, pickle.dumps(((seq,), {}))) for seq in (1, 2, 3)]
    caller.send(m.encode(m.Batch(tasks, definitions)))
    for _ in range(10):
        if len(kinds) < 3:
            worker.step()
    assert RAN == [1, 3] and kinds == [m.DONE, m.CANCELLED, m.DONE]
