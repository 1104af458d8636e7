"""What a client does so that its node can move objects from memory to the disk: it forgets places, and offers what it can spare.

A place is forgotten only if nobody reads the object here and no message with its place is on its way to a worker: those are the
arguments of tasks and calls that were sent and not answered. Whoever needs the object then asks the node (`Objects.view`).

Tasks that wait in a worker's channel must not keep their arguments in memory, while the one that runs waits for memory: they are
taken back, and from the first time that memory was short on, arguments travel without a place, and their worker asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..wire import messages as m
from .memory import Block
from .refs import SHARED, ObjectRef
from .submitter import FAR_BITS

if TYPE_CHECKING:
    from .runtime import ClientRuntime
    from .submitter import TaskRecord


class Spilling:
    """The client's part in spilling. Every method needs the lock."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime
        self.pressed = False
        """Memory has been short since this process began."""
        self._placed: set[int] = set()
        """Tasks, by their numbers, with places of their arguments: sent before memory was short. The tasks themselves would keep
        their results alive."""

    def evict(self, message: m.Evict) -> None:
        """Forget the places of these objects, but for those in use."""
        runtime = self.runtime
        runtime.settle()
        self.press()
        gone: list[bytes] = []
        busy: list[bytes] = []
        unknown: list[bytes] = []
        sent = self._sent()
        for ident in message.ids:
            blocks = runtime.memory.blocks(ident)
            if ident in sent or any(self._is_used(block) for block in blocks):
                busy.append(ident)
            elif blocks or ident in runtime.memory.lent or ident in runtime.objects.known:
                for block in blocks:
                    block.forget_place()
                runtime.memory.lent.pop(ident, None)
                gone.append(ident)
            else:
                unknown.append(ident)
        runtime.send(m.Evicted(message.round, gone, busy, unknown))

    def offer(self, message: m.Offer) -> None:
        """Let the node answer for values that were put here and that nobody reads: the least recently used first."""
        runtime = self.runtime
        runtime.settle()
        self.press()
        left = message.size
        sent = self._sent()
        mine = [
            block for block in runtime.memory.own.values() if block.mine and not block.held and block.ref is not None
        ]
        for block in sorted(mine, key=lambda block: block.used):
            if left <= 0:
                break
            ref = block.ref() if block.ref is not None else None
            if ref is None or block.is_read() or block.id in sent:
                continue
            runtime.objects.publish(ref)
            left -= block.size
        runtime.send(m.Offered(message.size - left))

    def press(self) -> None:
        """Memory is short: tasks that no worker has read yet are sent again, without places."""
        if self.pressed:
            return
        self.pressed = True  # before anything is sent again
        tasks = self.runtime.tasks
        for worker in list(tasks.submitter.workers.values()):
            if len(worker.inflight) > 1 and not worker.no >> FAR_BITS:
                seqs = tasks.unread(worker, None)
                if seqs:
                    tasks.submitter.took_back(worker, seqs)
                    tasks.fill(worker.shape)
        self._placed = {task.seq for task in self._in_flight()}

    def forget_places(self, task: TaskRecord, dependencies: list[m.Dependency]) -> None:
        """The arguments of a task, as they are sent while memory is short."""
        for (_, ref), dependency in zip(task.dependencies or (), dependencies, strict=True):
            value = dependency.value
            if value.kind == m.SHARED and value.offset and ref._state == SHARED:
                if not ref._value.held:
                    self.runtime.objects.publish(ref)
                if ref._value.held:
                    value.offset = 0

    @staticmethod
    def _is_used(block: Block) -> bool:
        """Whether it is read, being written, or part of a message that has no reference (large arguments, functions)."""
        return block.is_read() or (block.mine and block.ref is None)

    def _in_flight(self) -> Iterator[TaskRecord]:
        for worker in self.runtime.tasks.submitter.workers.values():
            yield from worker.inflight.values()
        for actor in self.runtime.actors.by_id.values():
            yield from actor.inflight.values()

    def _sent(self) -> set[bytes]:
        """Blocks whose places are in messages to workers that have not answered."""
        found: set[bytes] = set()
        if self._placed:
            live = [task for task in self._in_flight() if task.seq in self._placed]
            self._placed = {task.seq for task in live}
            for task in live:
                _add_places(task, found)
        return found


def _add_places(task: TaskRecord, found: set[bytes]) -> None:
    for _, ref in task.dependencies or ():
        value = ref._value if isinstance(ref, ObjectRef) and ref._state == SHARED else None
        if isinstance(value, Block):
            found.add(value.id)
    if task.shared is not None:
        found.add(task.shared.id)
