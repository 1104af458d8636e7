"""What this process tells of itself when its node asks: its unfinished tasks, what they wait for.

Work goes from caller to worker in one hop, so only the caller knows what it has submitted and where that is. It answers in
whichever thread reads the node's messages, in bounded time: a list says how many there are, and holds no more than was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..wire import messages as m
from .actor_client import ActorClient
from .reasons import begun
from .recording import first_seq, id_of
from .submitter import TaskRecord

if TYPE_CHECKING:
    from .runtime import ClientRuntime

PENDING_ARGS = "PENDING_ARGS_AVAIL"
PENDING_NODE = "PENDING_NODE_ASSIGNMENT"
SUBMITTED = "SUBMITTED_TO_WORKER"
RUNNING = "RUNNING"
_RARE = ("why", "runs", "doing", "stack", "blocks")
"""What is asked so rarely that `knowledge.py` is imported by the first such question."""


class Telling:
    """The answers of one client. Everything here needs the lock."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime
        self.questions: dict[str, Callable[[Any], Any]] = {
            "tasks": self._tasks,
            "queues": self._queues,
            "cancel": self._cancel,
            "program_ends": self._program_ends,
        }
        """By name; each takes an argument of plain data and returns plain data. Other parts add theirs."""

    def asked(self, message: m.Question) -> None:
        """The node asks. It hears first of what has ended, so that nothing is in neither list."""
        self.runtime.recording.send()
        if message.what in _RARE and message.what not in self.questions:
            from .knowledge import Knowledge

            Knowledge(self.runtime, self)
        question = self.questions.get(message.what)
        if question is None:
            told = m.Told(message.request, None, f"it does not know the question {message.what!r}")
        else:
            try:
                told = m.Told(message.request, question(message.argument))
            except (KeyError, TypeError, ValueError) as error:
                told = m.Told(message.request, None, f"{type(error).__name__}: {error}")
        self.runtime.send(told)

    # ------------------------------------------------------------ tasks

    def unfinished(self) -> Iterator[TaskRecord]:
        """Every task and call of this process that has not ended."""
        yield from (task for task in self.runtime.tasks.awaiting.values() if not task.cancelled)
        yield from self.runtime.tasks.submitter.tasks()
        for actor in self.runtime.actors.by_id.values():
            yield from actor.inflight.values()
            yield from actor.queue

    def _tasks(self, argument: dict[str, Any]) -> dict[str, Any]:
        """`{"limit": n}`: how many tasks are unfinished, and the first of them."""
        submitter = self.runtime.tasks.submitter
        count = len(self.runtime.tasks.awaiting)
        count += sum(len(shape.queue) for shape in submitter.by_no)
        count += sum(len(worker.inflight) for worker in submitter.workers.values())
        count += sum(len(actor.inflight) + len(actor.queue) for actor in self.runtime.actors.by_id.values())
        return {
            "count": count,
            "tasks": [self.describe(task) for task in islice(self.unfinished(), int(argument["limit"]))],
        }

    def _queues(self, _: Any) -> list[tuple[int, int]]:
        """How many tasks of each shape wait for a worker."""
        return [(shape.no, len(shape.queue)) for shape in self.runtime.tasks.submitter.by_no if shape.told]

    def _program_ends(self, _: Any) -> None:
        """This worker ends with its program, and what it has started with it."""
        self.runtime.recording.abandoned(self.unfinished())
        self.runtime.last_words()

    def describe(self, task: TaskRecord) -> dict[str, Any]:
        """A task that has not ended, as plain data."""
        worker = task.worker
        actor = worker if isinstance(worker, ActorClient) else None
        name = task.function.options.name
        if actor is not None:
            sent = task.seq in actor.inflight
            state = PENDING_ARGS if task.missing else SUBMITTED if sent else PENDING_NODE
            name = f"{actor.class_name or 'actor'}.{name}"
        else:
            state = PENDING_ARGS if task.missing else PENDING_NODE if worker is None else SUBMITTED
        if state == SUBMITTED and worker is not None and next(iter(worker.inflight)) == task.seq:
            state = RUNNING  # a worker begins with what was sent to it first
        return {
            "task_id": self.runtime.task_id_of_seq(first_seq(task)),
            "name": name,
            "state": state,
            "type": "ACTOR_TASK" if actor is not None else "NORMAL_TASK",
            "attempt_number": task.attempt,
            "actor_id": actor.id.hex() if actor is not None else "",
            "parent_task_id": id_of(task.parent),
            "creation_time": task.submitted or None,
            "start_time": begun(task) if state == RUNNING else None,
            "worker_pid": 0 if worker is None else worker.pid,
            "node_no": self.runtime.node_no if worker is None else worker.node or self.runtime.node_no,
        }

    def _cancel(self, argument: dict[str, Any]) -> str:
        """`{"id": task_id, "how": words}`: cancel it, and what it has started; its name. "": it has ended, or another process has
        submitted it."""
        for task in self.unfinished():
            if self.runtime.task_id_of_seq(first_seq(task)) == argument["id"]:
                name = str(self.describe(task)["name"])
                task.cancelled = str(argument["how"])
                self.runtime.cancel_task(task, force=False, recursive=True)
                return name
        return ""
