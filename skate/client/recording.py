"""What this process tells its node of the tasks and calls that have ended: a little of each, many at a time.

It must cost next to nothing. So of a packet of answers one list is kept, with a number and a time for each task; after
`CHUNK_TASKS` tasks, or `CHUNK_S`, all lists are encoded at once and go to the node in one message. What a process that is killed
has not sent yet is lost. Tasks that have failed are few, and say more.

INV-1: an attempt is recorded once: `submitted` of a task is 0.0 from when an attempt was recorded as failed until the next
begins.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from ..wire import messages as m
from ..wire.history import CALL, ENDED, FAILED, FINISHED, FUNCTION, NORMAL, SEQS, STATE, Recorded
from .errors import describe_packed
from .submitter import Function, TaskRecord

if TYPE_CHECKING:
    from .runtime import ClientRuntime

CHUNK_TASKS = 4096
CHUNK_S = 0.5
ERROR_CHARS = 500
NOBODY = (0, 0)
"""In place of a worker: no worker has had the task."""
UNKNOWN = -1

GOOD = frozenset((m.DONE, m.DONE_VALUES, m.END))
"""Answers that say that a task has finished."""

now = time.time
_encode = msgspec.json.Encoder().encode


def first_seq(task: TaskRecord) -> int:
    """The number that a task is known by; each attempt has another."""
    if task.attempt:
        ref = task.ref[0] if type(task.ref) is list and task.ref else task.ref
        ident = getattr(ref, "_id", None)
        if type(ident) is bytes:
            return int.from_bytes(ident[8:], "big")
    return task.seq


class Recording:
    """The tasks of one client that have ended, as far as its node has not heard of them. Everything here needs the lock."""

    def __init__(self, runtime: ClientRuntime, on: bool) -> None:
        self.runtime = runtime
        self.on = on
        self.packets: list[list[Any]] = []
        self._count = 0
        self._send_at = 0.0
        self._functions: dict[Any, int] = {}
        self._known: list[tuple[str, str, str]] = []
        """The functions by their places: name, kind, actor."""
        self._workers: dict[Any, int] = {}
        """Nodes and pids by their places; or an actor, whose pid may come after its first answers."""
        self._places: dict[Any, tuple[int, int]] = {}
        """(pid, place) of workers: it is found sooner here."""
        self._looked = 0
        """How many packets there were when the clock was to be looked at last."""

    # ------------------------------------------------------------ what has happened

    def packet(self, worker: Any, message: m.Replies, tasks: list[TaskRecord]) -> None:
        """These tasks have finished. `worker`: a leased worker, or an actor."""
        ended = message.ended or now()
        first = tasks[0]
        function = first.function
        if len(tasks) == 1:
            alike = first.parent is None and not first.attempt
        else:
            alike = not [t for t in tasks if t.function is not function or t.parent is not None or t.attempt]
        if not alike:
            self._different(worker, message, tasks, ended)
        else:  # nearly always; this is on the way of every task
            place = self._functions.get(function)
            known = self._places.get(worker)
            packet = [
                self._function(function, worker) if place is None else place,
                known[1] if known is not None and known[0] == worker.pid else self._worker(worker),
                ended,
                message.spent_us // message.ran if message.ran else UNKNOWN,
                [task.seq for task in tasks] if len(tasks) > 1 else [first.seq],
                [task.submitted for task in tasks] if len(tasks) > 1 else [first.submitted],
            ]
            if self.packets:
                self.packets.append(packet)
            else:
                self._add(packet)
        self._count += len(tasks)
        if self._count >= CHUNK_TASKS or now() >= self._send_at:  # `ended` is by the clock of another machine
            self.send()

    def _different(self, worker: Any, message: m.Replies, tasks: list[TaskRecord], ended: float) -> None:
        """Tasks of several functions, or with a parent, or in another than their first attempt: a packet for each that is not as
        the one before."""
        each_us = message.spent_us // message.ran if message.ran else UNKNOWN
        place = self._worker(worker)
        last: TaskRecord | None = None
        seqs: list[int] = []
        submitted: list[float] = []
        for task in tasks:
            if last is None or task.function is not last.function or task.parent is not last.parent or task.attempt:
                seqs, submitted = [], []
                packet = [self._function(task.function, worker), place, ended, each_us, seqs, submitted]
                if task.parent is not None or task.attempt:
                    packet += [FINISHED, task.attempt, id_of(task.parent), "", ""]
                self._add(packet)
            seqs.append(first_seq(task))
            submitted.append(task.submitted)
            last = None if task.attempt else task

    def failed(self, task: TaskRecord, worker: Any, error: Any, message: m.Replies | None = None) -> None:
        """An attempt has failed, with this exception, packed or not. `message`: the worker's answers, if it has answered."""
        if not self.on or not task.submitted:
            return
        submitted, task.submitted = task.submitted, 0.0
        each_us = message.spent_us // message.ran if message is not None and message.ran else UNKNOWN
        if isinstance(error, bytes | bytearray | memoryview):
            kind, text = describe_packed(error)
        else:
            kind, text = type(error).__name__, str(error)
        place = self._worker(worker)
        ended = (message.ended if message is not None else 0.0) or now()
        packet = [self._function(task.function, worker), place, ended, each_us, [first_seq(task)], [submitted]]
        self._add([*packet, FAILED, task.attempt, id_of(task.parent), kind, text.partition("\n")[0][:ERROR_CHARS]])
        self._count += 1

    def again(self, task: TaskRecord) -> None:
        """Another attempt begins."""
        if self.on:
            task.submitted = now()

    def _add(self, packet: list[Any]) -> None:
        if not self.packets:
            self._send_at = now() + CHUNK_S
        self.packets.append(packet)

    def _worker(self, worker: Any) -> int:
        key: Any = NOBODY if worker is None else self._key(worker) if worker.pid else worker
        place = self._workers.get(key)
        if place is None:
            place = self._workers[key] = len(self._workers)
        if type(key) is tuple and worker is not None:
            self._places[worker] = worker.pid, place
        return place

    def _key(self, worker: Any) -> tuple[int, int]:
        return worker.node or self.runtime.node_no, worker.pid

    def _function(self, function: Any, actor: Any) -> int:
        place = self._functions.get(function)
        if place is None:
            place = self._functions[function] = len(self._functions)
            name = function.options.name
            if isinstance(function, Function) or actor is None:
                self._known.append((name, NORMAL, ""))
            else:
                self._known.append((f"{actor.class_name or 'actor'}.{name}", CALL, actor.id.hex()))
        return place

    # ------------------------------------------------------------ to the node

    def due(self) -> float | None:
        """Tell the node if it is time; the seconds until it will be, or None when there is nothing. Called without the lock."""
        if not self.packets:
            return None
        if len(self.packets) != self._looked:  # it goes on, and `packet` looks at the time, too
            self._looked = len(self.packets)
            return CHUNK_S
        left = self._send_at - now()
        if left > 0:
            return left
        with self.runtime.lock:
            self.send()
        return None

    def send(self) -> None:
        """Tell the node."""
        packets = self.packets
        if not packets:
            return
        finished, failed = [0] * len(self._known), [0] * len(self._known)
        for packet in packets:
            count = failed if len(packet) > STATE and packet[STATE] == FAILED else finished
            count[packet[FUNCTION]] += len(packet[SEQS])
        counts: dict[str, list[int]] = {}
        for (name, _, _), good, bad in zip(self._known, finished, failed, strict=True):
            count = counts.setdefault(name, [0, 0])
            count[0] += good
            count[1] += bad
        message = Recorded(
            packets[0][ENDED],
            packets[-1][ENDED],
            sum(finished),
            sum(failed),
            counts,
            self._known,
            [key if type(key) is tuple else self._key(key) for key in self._workers],
            _encode(packets),
        )
        self.packets, self._known, self._count = [], [], 0
        self._functions.clear()
        self._workers.clear()
        self._places.clear()
        self._looked = 0
        self.runtime.send(message)


def id_of(task: tuple[bytes, int] | None) -> str:
    """The id of the task that has started another, in hexadecimal."""
    return "" if task is None else (task[0] + task[1].to_bytes(8, "big")).hex()
