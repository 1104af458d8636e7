"""A worker's first steps, taken in the zygote before it forks any worker.

CPython writes into what it only runs: it counts the calls of a code object until it specialises its instructions, fills the
cache of method lookups, and numbers dictionaries and types. After a fork each such write copies a page, at 2 to 5 microseconds
each, and a worker's start is little else. So the zygote goes through the life of a worker a few times, with itself at the other
end of every socket: what is written once here is shared by all workers. A worker's own memory shrinks by as much.
"""

from __future__ import annotations

import gc
import os
import pickle
from functools import partial
from typing import Any

from ..store.arena import ADDRESSES
from ..wire import messages as m
from ..wire.channel import Channel, pair
from .output import LineWriter, whose
from .start import build

ROUNDS = 12
"""CPython 3.11 specialises a code object after 8 calls."""

_CALLER = b"rehearse"


class Actor:
    """What an actor of the rehearsal is."""

    def call(self, value: Any = None) -> None:
        """A call of it."""


def task(value: Any = None) -> None:
    """A task of the rehearsal."""


def rehearse(arena_fd: int) -> None:
    """Be a worker for a moment, several times; nothing of it stays but what the interpreter has learnt."""
    for _ in range(ROUNDS):
        _be_worker(arena_fd, None)
        _be_worker(arena_fd, _be_actor())
    gc.collect()


def _be_worker(arena_fd: int, actor: m.BeActor | None) -> None:
    (node_sock, own_sock), (caller_sock, served_sock) = pair(), pair()
    node, caller = Channel(node_sock), Channel(caller_sock)
    worker = build(Channel(own_sock), _begin(arena_fd), os.dup(arena_fd))
    worker.leave = _refuse  # type: ignore[method-assign]
    LineWriter(1, partial(whose, worker)).write("")
    try:
        node.send_fds(m.encode(m.Serve(_CALLER)), [served_sock.fileno()])
        if actor is not None:
            node.send(m.encode(actor))
            worker.step()
        for seq in (1, 2):
            caller.send(m.encode(_batch(seq, actor is not None)))
            worker.step()
    finally:
        for end in (node, caller):
            end.close()
        served_sock.close()
        worker.close()


def _begin(arena_fd: int) -> m.Begin:
    size = os.fstat(arena_fd).st_size // ADDRESSES
    welcome = m.Welcome(b"rehearsa", "", "", "", "", size, {"CPU": 1.0}, 0)
    return m.Begin(welcome, "", [], "", False, "")


def _batch(seq: int, to_actor: bool) -> m.Batch:
    definitions = None
    if seq == 1:
        code = None if to_actor else m.Value(m.INLINE, pickle.dumps(task))
        definitions = [m.Definition(1, b"" if to_actor else b"task", code, "call" if to_actor else "task", 1)]
    return m.Batch([m.Task(seq, 1, pickle.dumps(((seq,), {})))], definitions)


def _be_actor() -> m.BeActor:
    definition = m.Definition(0, b"actor", m.Value(m.INLINE, pickle.dumps(Actor)), "Actor", 1)
    body = m.Value(m.INLINE, pickle.dumps(((), {})))
    spec = m.CreateActor(
        b"rehearse" * 2, definition, body, None, b"", "", "", "Actor", False, {}, {}, 0, 1, {}, False, False, 0
    )
    return m.BeActor(spec, 0)


def _refuse(reason: str, intended: bool) -> None:
    raise RuntimeError(f"a rehearsed worker wants to leave: {reason}")
