"""What workers say before they are ended with their program: what they have counted, and what they run.

A program that is killed says nothing of the tasks that it has submitted; its workers know those that run, and by name. And what
they have counted since they told it last would go with them. So before they are killed, they get a signal at which they say all
that (`worker/farewell.py`), and `PATIENCE_S` for it. Tasks that no worker has begun only the program knew.

A task that was being tried again is written down under the id of that attempt, as its worker knows no other.

INV-1: a worker that was asked to end is killed as soon as it has said its last words, or its time is over.
INV-2: a worker is asked once. Tasks of a program that has left in order are not written down here: it has told of them itself,
and its workers on its own node of theirs.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ..wire import forks, messages as m
from ..wire.history import CALL, FAILED, NORMAL, PROGRAM_ENDED, Recorded

if TYPE_CHECKING:
    from .client import Client
    from .service import Node

PATIENCE_S = 1.0
"""How long a worker may take: on a busy machine its turn may come late, and C code may go on without letting Python run."""


class Asked(NamedTuple):
    """A worker that was asked for its last words."""

    until: float
    """When its time is over."""
    told: bool
    """Its program has said itself what of its tasks has not ended."""


class Farewells:
    """The workers of a node that were asked for their last words."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._asked: dict[int, Asked] = {}
        self._said: set[int] = set()
        """Workers that were asked, and are not ended yet."""
        self._ends = False
        """After the last of them, this node does."""
        node.parts.append(self)

    def program_ended(self, driver: Client) -> None:
        """A program has ended, or cannot be heard any more: ask its workers. They are killed after that, which is for others to
        order; for actors the head is, and whoever has lost only the connection to a program of another node leaves them alone."""
        node, told = self.node, driver.leaving is not None
        if told and not node.standalone:
            return  # what was counted ends with the node
        workers = [worker for worker, client in node.workers.items() if client.job == driver.job]
        if told and all(node.workers[worker].told_end for worker in workers if node.workers[worker].began):
            return  # nothing is left to be said
        for worker in workers:
            spec = node.actors.spec_of(worker)
            if spec is None or not (spec.detached or driver.far):
                self.ask(worker, told)

    def ask(self, worker: int, told: bool) -> None:
        """Have a worker say what it knows, if it can, before it is killed; `told`: its program has left in order."""
        node = self.node
        client = node.workers[worker]
        zygote = node.pool.zygote_of(client.crew)
        if client.began and zygote is not None and worker not in self._said:
            self._said.add(worker)
            self._asked[worker] = Asked(time.monotonic() + PATIENCE_S, told)
            node.pool.tell(zygote, forks.Kill(client.pid, forks.FAREWELL_SIGNAL))

    def holds(self, worker: int) -> bool:
        """Whether a worker is not to be killed yet."""
        return worker in self._asked

    def on_farewell(self, client: Client, message: m.Farewell) -> None:
        """A worker says what it runs; what it has counted, it has said before."""
        asked = self._asked.get(client.worker)
        if asked is not None:
            self._record(client, message.running, asked.told)
            self._over(client.worker)

    def gone(self, worker: int) -> None:
        """A worker has ended."""
        self._asked.pop(worker, None)
        self._said.discard(worker)

    def then_end(self) -> None:
        """End this node when nobody has anything to say any more."""
        self._ends = True
        self._look()

    def _over(self, worker: int) -> None:
        del self._asked[worker]
        if worker in self.node.pool.asked_to_end:
            self.node.pool.kill(worker, signal.SIGKILL)

    def _look(self) -> None:
        if not self._asked:
            self.node.running = self.node.running and not self._ends

    def _record(self, client: Client, running: list[tuple[str, str, float]], told: bool) -> None:
        """Write down that these tasks have not ended before their program."""
        node, now = self.node, time.time()
        spec = node.actors.spec_of(client.worker)
        kind, actor = (NORMAL, "") if spec is None else (CALL, spec.id.hex())
        for task, name, seconds in running:
            caller = bytes.fromhex(task[:16])
            known = node.clients.get(caller)
            if told and (known is None or not known.worker or known.told_end):
                continue
            took_us = int(seconds * 1e6) or -1
            packet = (0, 0, now, took_us, int(task[16:], 16), 1, 0.0, FAILED, 0, "", *PROGRAM_ENDED)
            said = Recorded(
                *(now, now, 0, 1, {name: [0, 1]}, [(name, kind, actor)], [(node.node_no, client.pid)]),
                msgspec.json.encode([packet]),
            )
            node.history.write(client.job, task[:16], known.pid if known is not None else 0, said)

    def on_time(self, now: float) -> None:
        """Kill those whose time is over."""
        for worker in [worker for worker, asked in self._asked.items() if now >= asked.until]:
            self._over(worker)
        self._look()

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, min(asked.until for asked in self._asked.values()) - now) if self._asked else None
