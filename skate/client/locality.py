"""Tasks go where their arguments are, if those are large and on another node.

A task whose arguments lie on another node for the most part is queued in a shape of its own, which *prefers* that node. The own
node then sends this client there, and nowhere else, until the patience of the shape is over: as long as the bytes would take
to come, and a moment more if there is room, as a worker has to start. Then the tasks run wherever there is room, as all others
do, until none of them waits any more. So a task is never much later than if its arguments had been fetched at once.

Small arguments, and tasks that say themselves where they are to run, have nothing to do with any of this.

INV-1: `waiting` has exactly the shapes with a preference that are patient and have asked for workers of their node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..wire.groups import group_of
from .refs import FAR, SHARED

if TYPE_CHECKING:
    from .refs import ObjectRef
    from .submitter import Shape, TaskRecord
    from .tasks import Tasks

LOCAL_BYTES = 1 << 20
"""A task goes where its arguments are if that saves the transfer of this much."""
BYTES_PER_S = 1e9
"""How fast bytes are expected to come from another node."""
START_S = 0.5
"""The most that a node with room may take to give a worker."""
PATIENCE_MAX_S = 5.0


def place_of(ref: ObjectRef[Any]) -> int | None:
    """The number of the other node where a value lies; 0: it is on this one; None: it is small, or nobody has looked yet."""
    if ref._state == FAR:
        return int(ref._value.value.node)
    return 0 if ref._state == SHARED else None


class Locality:
    """The preferences of one client's tasks."""

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks
        self.runtime = tasks.runtime
        self.waiting: dict[Shape, float] = {}
        """When the patience of shapes is over."""

    def place(self, task: TaskRecord) -> None:
        """Choose the queue of a task by where its arguments are. They are all there. Needs the lock."""
        function = task.function.base or task.function
        task.function = function
        far: dict[int, int] = {}
        here = 0 if task.shared is None else task.shared.size
        for _, ref in task.dependencies or ():
            if ref._state == FAR:
                value = ref._value.value
                far[value.node] = far.get(value.node, 0) + value.size
            elif ref._state == SHARED:
                here += ref._value.size
        if not far:
            return
        node = max(far, key=far.__getitem__)
        saves = far[node] - here
        shape = function.shape
        if saves < LOCAL_BYTES or shape.node_id or group_of(shape.resources)[0] or node in self.runtime.links.dead:
            return
        task.function = near = self.tasks.submitter.near(function, node)
        near.shape.saves = saves

    def asked(self, shape: Shape, now: float) -> None:
        """Workers were asked for. Needs the lock."""
        if shape.patient and shape.queue and shape not in self.waiting:
            self.waiting[shape] = now + START_S + self._transfer_s(shape)
            self.runtime.pump.nudge()

    def full(self, shape: Shape, now: float) -> None:
        """The preferred node has no room now. Needs the lock."""
        if shape in self.waiting:
            self.waiting[shape] = min(self.waiting[shape], now + self._transfer_s(shape))

    def _transfer_s(self, shape: Shape) -> float:
        return min(shape.saves / BYTES_PER_S, PATIENCE_MAX_S)

    def served(self, shape: Shape) -> None:
        """None of its tasks waits any more: the next ones prefer their node again. Needs the lock."""
        self.waiting.pop(shape, None)
        if shape.patient:
            return
        shape.patient = True
        for worker in [worker for worker in shape.workers.values() if worker.node != shape.prefers]:
            worker.draining = True
            if not worker.inflight:
                self.tasks.give_back(worker)
        self.tasks.demand.tell(shape)

    def next_due(self, now: float) -> float | None:
        """Seconds until patience is over somewhere."""
        until = list(self.waiting.values())  # asked without the lock
        return max(0.0, min(until) - now) if until else None

    def run_due(self, now: float) -> None:
        """Whose patience is over may run anywhere. Needs the lock."""
        for shape in [shape for shape, until in self.waiting.items() if now >= until]:
            del self.waiting[shape]
            if shape.queue:
                shape.patient = False
                self.tasks.demand.tell(shape)
