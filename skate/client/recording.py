"""What this process tells its node of the tasks and calls that have ended: a little of each, many at a time.

It must cost next to nothing. So of a packet of answers one row is kept; after `CHUNK_ROWS` of them, or `CHUNK_S`, all are encoded
at once and go to the node in one message. Rows lie one after the other in one list: a list for each would be made, traced by the
garbage collector and freed. Tasks that were answered alone, one after the other and each at once, share a row for a millisecond.
What a process that is killed has not sent yet is lost. Tasks that have failed are few, and say more.

INV-1: an attempt is recorded once: `submitted` of a task is 0.0 from when an attempt was recorded as failed until the next
begins.
INV-2: the process of a worker is looked up when its rows are sent: rows of an actor are sent before its process is another.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from ..exceptions import NotRunningError
from ..wire import messages as m
from ..wire.history import CALL, FAILED, FINISHED, NORMAL, PROGRAM_ENDED, SAME_S, Recorded
from .errors import describe_packed
from .submitter import Function, TaskRecord

if TYPE_CHECKING:
    from .runtime import ClientRuntime

CHUNK_ROWS = 2048
CHUNK_S = 0.5
ALONE_MAX = 32
"""So many tasks that were answered alone are looked at together."""
ERROR_CHARS = 500
WIDTH = 8
"""A row: function, worker, when the last task ended, microseconds for all, number of the first, how many, when the first was
submitted, and what is said only of some, or None."""
ABANDONED_MAX = 10_000
"""Of the tasks that have not ended when their program does, so many are recorded."""
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
        self.rows: list[Any] = []
        """All rows, `WIDTH` places each."""
        self.alone: list[tuple[Any, ...]] = []
        """Tasks that were answered alone, which may share a row: function, worker, end, microseconds for all that ran, how many
        ran, number, when submitted, parent."""
        self._send_at = 0.0

    # ------------------------------------------------------------ what has happened

    def packet(self, worker: Any, message: m.Replies, tasks: list[TaskRecord], alike: bool) -> None:
        """These tasks have finished.

        Args:
            worker: a leased worker, or an actor.
            message: its answers.
            tasks: in the order in which they ended.
            alike: they are known to differ only by their numbers, which follow each other, and by when they were submitted.
        """
        task, count = tasks[0], len(tasks)
        if count == 1 and not task.attempt:  # this is on the way of every call
            alone = self.alone
            alone.append(
                (
                    task.function,
                    worker,
                    message.ended,
                    message.spent_us,
                    message.ran,
                    task.seq,
                    task.submitted,
                    task.parent,
                )
            )
            if len(alone) >= ALONE_MAX:
                self._note_alone()
            elif len(alone) == 1 and not self.rows:
                self._send_at = now() + CHUNK_S
            return
        if self.alone:
            self._note_alone()
        ended = message.ended or now()
        spent_us = message.spent_us * count // message.ran if message.ran else UNKNOWN
        if (alike or _alike(tasks)) and tasks[-1].submitted - task.submitted < SAME_S:
            more = None if task.parent is None else _more(task.parent)
            self._note((task.function, worker, ended, spent_us, task.seq, count, task.submitted, more))
        else:
            self._different(worker, ended, spent_us // count, tasks)

    def _note(self, row: Sequence[Any]) -> None:
        """One row more."""
        rows = self.rows
        if not rows:
            self._send_at = now() + CHUNK_S
        rows += row
        if len(rows) >= CHUNK_ROWS * WIDTH:
            self.send()

    def _note_alone(self) -> None:
        """What was answered alone becomes rows: one for each run of what is alike and fits into a moment."""
        alone, self.alone = self.alone, []
        row: list[Any] = []
        joins, first_ended = False, 0.0
        for function, worker, ended, spent_us, ran, seq, submitted, parent in alone:
            plain = ran == 1 and parent is None
            if (
                joins
                and plain
                and seq == row[4] + row[5]
                and function is row[0]
                and worker is row[1]
                and submitted - row[6] < SAME_S
                and ended - first_ended < SAME_S
            ):
                row[2] = ended
                row[3] += spent_us
                row[5] += 1
                continue
            if row:
                self._note(row)
            spent_us = spent_us // ran if ran else UNKNOWN
            row = [function, worker, ended or now(), spent_us, seq, 1, submitted, _more(parent)]
            joins, first_ended = plain, ended
        self._note(row)

    def _different(self, worker: Any, ended: float, each_us: int, tasks: list[TaskRecord]) -> None:
        """Tasks of several functions, or parents, or in another than their first attempt: a row for each run of what is alike."""
        each_s = max(each_us, 0) / 1e6
        begin, count = 0, len(tasks)
        for at in range(1, count + 1):
            first, last = tasks[begin], tasks[at - 1]
            if at < count:
                task = tasks[at]
                same = task.function is last.function and task.parent == last.parent and task.seq == last.seq + 1
                if same and not task.attempt and not last.attempt and task.submitted - first.submitted < SAME_S:
                    continue
            more = _more(first.parent, first.attempt)
            end, spent_us = ended - (count - at) * each_s, each_us * (at - begin) if each_us >= 0 else UNKNOWN
            self._note((last.function, worker, end, spent_us, first_seq(first), at - begin, first.submitted, more))
            begin = at

    def failed(self, task: TaskRecord, worker: Any, error: Any, message: m.Replies | None = None) -> None:
        """An attempt has failed, with this exception, packed or not. `message`: the worker's answers, if it has answered."""
        if not self.on or not task.submitted:
            return
        if self.alone:
            self._note_alone()
        submitted, task.submitted = task.submitted, 0.0
        spent_us = message.spent_us // message.ran if message is not None and message.ran else UNKNOWN
        if isinstance(error, bytes | bytearray | memoryview):
            kind, text = describe_packed(error)
        else:
            kind, text = type(error).__name__, str(error)
        ended = (message.ended if message is not None else 0.0) or now()
        line = " | ".join(filter(None, text.split("\n")))
        more = (FAILED, task.attempt, id_of(task.parent), kind, line[:ERROR_CHARS])
        self._note((task.function, worker, ended, spent_us, first_seq(task), 1, submitted, more))

    def abandoned(self, tasks: Iterable[TaskRecord]) -> None:
        """The program ends, and these tasks have not."""
        for task in islice(tasks, ABANDONED_MAX):
            self.failed(task, task.worker, NotRunningError(PROGRAM_ENDED[1]))

    def again(self, task: TaskRecord) -> None:
        """Another attempt begins."""
        if self.on:
            task.submitted = now()

    # ------------------------------------------------------------ to the node

    def due(self) -> float | None:
        """Tell the node if it is time; the seconds until it will be, or None when there is nothing. Called without the lock."""
        if not self.rows and not self.alone:
            return None
        left = self._send_at - now()
        if left > 0:
            return left
        with self.runtime.lock:
            self.send()
        return None

    def send(self) -> None:
        """Tell the node."""
        if self.alone:
            self._note_alone()
        rows = self.rows
        if not rows:
            return
        self.rows = []
        of_function, of_worker, ended, spent, first, count, submitted, more = (rows[at::WIDTH] for at in range(WIDTH))
        functions, in_functions = _places(of_function)
        workers, in_workers = _places(of_worker)
        each = [total // tasks for total, tasks in zip(spent, count, strict=True)]
        plain = zip(in_functions, in_workers, ended, each, first, count, submitted, strict=True)
        if more.count(None) == len(more):
            packets = list(plain)
        else:
            packets = [row if said is None else row + said for row, said in zip(plain, more, strict=True)]
        whose = dict(zip(of_function, of_worker, strict=True))
        known = [self._describe(function, whose[function]) for function in functions]
        failed = sum(1 for said in more if said is not None and said[0] == FAILED)
        counts = {name: [0, 0] for name, _, _ in known}
        if len(counts) == 1 and not failed:
            counts[known[0][0]][0] = sum(count)
        else:
            for place, tasks, said in zip(in_functions, count, more, strict=True):
                counts[known[place][0]][said is not None and said[0] == FAILED] += tasks
        message = Recorded(
            ended[0],
            ended[-1],
            sum(count) - failed,
            failed,
            counts,
            known,
            [self._process(worker) for worker in workers],
            _encode(packets),
        )
        self.runtime.send(message)

    def _process(self, worker: Any) -> tuple[int, int]:
        """Its node and pid."""
        return NOBODY if worker is None else (worker.node or self.runtime.node_no, worker.pid)

    @staticmethod
    def _describe(function: Any, actor: Any) -> tuple[str, str, str]:
        """Its name, its kind, and the actor's id."""
        name = function.options.name
        if isinstance(function, Function) or actor is None:
            return name, NORMAL, ""
        return f"{actor.class_name or 'actor'}.{name}", CALL, actor.id.hex()


def _alike(tasks: list[TaskRecord]) -> bool:
    """Whether they differ only by their numbers, which follow each other, and by when they were submitted."""
    task = tasks[0]
    function, parent, first = task.function, task.parent, task.seq
    seqs = [task.seq for task in tasks if task.function is function and task.parent == parent and not task.attempt]
    return seqs == list(range(first, first + len(tasks)))


def _more(parent: tuple[bytes, int] | None, attempt: int = 0) -> tuple[Any, ...] | None:
    """What is said of tasks that have finished, if it is not what nearly all are."""
    return None if parent is None and not attempt else (FINISHED, attempt, id_of(parent), "", "")


def _places(values: list[Any]) -> tuple[list[Any], list[int]]:
    """What is there, once each, and for each value its place in that."""
    if values.count(values[0]) == len(values):
        return values[:1], [0] * len(values)
    places = {value: place for place, value in enumerate(dict.fromkeys(values))}
    return list(places), [places[value] for value in values]


def id_of(task: tuple[bytes, int] | None) -> str:
    """The id of the task that has started another, in hexadecimal."""
    return "" if task is None else (task[0] + task[1].to_bytes(8, "big")).hex()
